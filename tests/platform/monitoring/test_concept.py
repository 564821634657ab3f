"""What happened beside what was expected: found when it has moved, silent when it has not, unknown without labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays import model as team
from flight_delays.contract import CONTRACT
from slipway import kinds
from slipway.base.files import write_json
from slipway.contract.frames import columns
from slipway.data.labels import IS_DUE, TRUTH
from slipway.monitoring import concept
from slipway.monitoring.calibration import Calibration, Rows, calibration, one_by_one
from slipway.monitoring.checks import CHECKS, CheckContext
from slipway.monitoring.concept import Concept, ConceptState, Outcome
from slipway.monitoring.drift import Verdict, find
from slipway.monitoring.judge import judge_log
from slipway.monitoring.report import Report, report_of, report_text
from slipway.pages.monitor_page import monitor_page
from slipway.settings.policy import LabelPolicy, MonitorPolicy, Policy, WindowPolicy
from slipway.settings.project import Project
from slipway.team import PROBABILITIES
from slipway.training.bundle import SUMS, Bias, Bundle, Expected, ModelFacts
from slipway.training.reference import bias
from slipway.training.score_columns import observed
from slipway.training.scoring import Scorer

NOW = datetime(2030, 6, 30, tzinfo=UTC)
LEARNED = Bias(value=0.0, error=0.005, days=60)


def made(folder: Path, kind: str = "class", learned: Bias | None = LEARNED, classes: tuple[str, ...] = ()) -> Bundle:
    threshold = [1.0 for _ in classes] or 0.5
    facts = ModelFacts(
        name="late-parcels", answer="late", kind=kind, threshold=threshold, features=[], contract="", classes=[*classes]
    )
    write_json(folder / "model.json", facts)
    write_json(folder / "expected.json", Expected(bias=learned))
    pl.DataFrame({"score": np.linspace(0.1, 0.6, 1000)}).write_parquet(folder / "reference.parquet")
    (folder / SUMS).write_text("the champion")
    return Bundle(folder)


@pytest.fixture
def champion(tmp_path: Path) -> Bundle:
    return made(tmp_path)


@pytest.fixture
def policy(project: Project) -> Policy:
    limits = MonitorPolicy(
        min_rows=200, watch=0.1, act=0.25, p_value=0.01, max_bias=0.05, windows=WindowPolicy(days=7, last=4)
    )
    where = LabelPolicy(source="data/labels", key=["id"], delay_days=2)
    return msgspec.structs.replace(project.policy, monitor=limits, labels=where)


def answered(bundle: Bundle, *, moved: float = 0, per_day: int = 40, days: int = 26, ends: float = 3) -> pl.DataFrame:
    """A log in which `moved` more happens than was expected, the same number every day, until `ends` days ago."""
    rng = np.random.default_rng(3)
    count = per_day * days
    scores = rng.uniform(0.1, 0.6, count)
    times = [NOW - timedelta(days=ends + place / per_day) for place in range(count)]
    return pl.DataFrame({
        "at": times,
        "digest": [bundle.digest] * count,
        "score": scores,
        TRUTH: (rng.random(count) < scores + moved).astype(float),
        IS_DUE: [at + timedelta(days=2) <= NOW for at in times],
        CONTRACT.time or "day": [at.replace(tzinfo=None) for at in times],
    })  # fmt: skip


def judge(bundle: Bundle, log: pl.DataFrame, policy: Policy) -> Concept:
    found = concept.measure(bundle, log, policy, NOW)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("moved", "state"),
    [(0, ConceptState.OK), (0.03, ConceptState.OK), (0.2, ConceptState.MOVED), (-0.2, ConceptState.MOVED)],
)
def test_a_world_that_has_moved_is_found_and_one_that_has_not_is_not(
    champion: Bundle, policy: Policy, moved: float, state: ConceptState
) -> None:
    found = judge(champion, answered(champion, moved=moved), policy)

    assert found.state is state
    assert found.outcome is not None
    assert found.outcome.happened - found.outcome.expected == pytest.approx(moved, abs=0.05)
    assert f"late was true for {100 * found.outcome.happened:.1f} % of 1,040 labelled answers" in found.sentence
    assert all((band.now > band.reference) == (moved > 0) for band in found.bands if abs(moved) > 0.1)


def test_what_is_certain_and_small_is_told_and_asks_for_nothing(champion: Bundle, policy: Policy) -> None:
    found = judge(champion, answered(champion, moved=0.035, per_day=1000), policy)

    assert found.p_value is not None
    assert (found.state, found.p_value < policy.monitor.p_value) == (ConceptState.OK, True)
    assert found.sentence.endswith("were expected")


def test_chance_is_that_of_students_distribution_and_shared_with_the_columns(champion: Bundle, policy: Policy) -> None:
    """The table of Student's distribution has 2.571 for 5 degrees of freedom and 5 % on both sides together."""
    outcome = Outcome(expected=0, happened=2.571 * 5, error=3, days=6)
    found = judge(champion, answered(champion), policy)

    assert concept.chance(outcome, Bias(value=0, error=4, days=60)) == pytest.approx(0.05, abs=1e-4)
    assert found.outcome is not None
    assert found.p_value == 2 * concept.chance(found.outcome, LEARNED)


def test_a_bundle_knows_how_far_off_it_is_on_rows_that_it_did_not_learn_from(finished: Project, sealed: Bundle) -> None:
    rows = pl.read_parquet(finished.root / "data" / "test.parquet")
    truth = team.target(columns(rows, CONTRACT.outcome_fields))
    scores = Scorer(sealed).scores(columns(rows, CONTRACT.fields))

    assert sealed.expected.bias is not None
    assert sealed.expected.bias.value == pytest.approx(float(np.mean(truth - scores)), abs=1e-4)


def test_a_bundle_with_few_test_rows_or_with_none_is_judged_by_the_mean_alone_and_says_why(
    champion: Bundle, policy: Policy
) -> None:
    """Without test rows the bands are those of rows it learned from, up to 0.6; with them, of scores up to 0.3."""
    log = answered(champion)
    old = judge(champion, log, policy)
    pl.DataFrame({"score": np.linspace(0.1, 0.3, 40), "truth": np.zeros(40)}).write_parquet(champion.tested)

    few = judge(champion, log, policy)

    assert "rows that it learned from, which flatter it" in old.by_score
    assert few.by_score.startswith("its test rows are too few")
    assert [float(one.bands[-1].label.split()[-1]) for one in (old, few)] == pytest.approx([0.55, 0.28], abs=0.01)
    assert max(one.p_value or 0 for one in old.bands + few.bands) == 0


def test_a_quantity_is_told_in_its_own_unit(tmp_path: Path, policy: Policy) -> None:
    champion = made(tmp_path, kind="number")

    found = judge(champion, answered(champion).with_columns(pl.col("score") * 100, pl.col(TRUTH) + 70), policy)

    assert found.state is ConceptState.MOVED
    assert found.sentence.startswith("late was 70.3")
    assert found.sentence.endswith("was expected")


def test_what_the_training_rows_showed_already_is_no_drift(tmp_path: Path, policy: Policy) -> None:
    """A model can be off from its first day on, by design; moving on by as much again is drift."""
    champion = made(tmp_path, learned=Bias(value=0.2, error=0.005, days=60))

    assert judge(champion, answered(champion, moved=0.2), policy).state is ConceptState.OK
    assert judge(champion, answered(champion, moved=0.4), policy).state is ConceptState.MOVED
    assert judge(champion, answered(champion, moved=0), policy).state is ConceptState.MOVED


def test_few_days_that_differ_are_no_proof(champion: Bundle, policy: Policy) -> None:
    """All or nothing happens on a day: a week of that says little, however many its rows are."""
    day = pl.col("at").dt.date()
    log = answered(champion, days=6).with_columns(pl.lit(0.4).alias("score"))
    log = log.with_columns((day.rank("dense") % 3 > 0).cast(pl.Float64).alias(TRUTH))

    found = judge(champion, log, policy)

    assert found.outcome is not None
    assert found.outcome.happened - found.outcome.expected > 0.2
    assert (found.state, found.sentence.endswith(", and chance may explain that")) == (ConceptState.OK, True)


def without_labels(log: pl.DataFrame) -> pl.DataFrame:
    """Only those that ended well, and so early, have a label."""
    return log.with_columns(pl.when(pl.col(TRUTH) == 0).then(TRUTH))


@pytest.mark.parametrize(
    ("made_of", "reason"),
    [
        ({"per_day": 7}, "182 labelled predictions, at least 200 are needed"),
        ({"days": 3, "per_day": 100}, "the labels are of fewer than 5 days"),
        ({"ends": -30}, "0 labelled predictions, at least 200 are needed"),
    ],
)
def test_what_is_too_little_is_unknown_and_never_good(
    champion: Bundle, policy: Policy, made_of: dict[str, int], reason: str
) -> None:
    log = answered(champion, moved=0.3, **made_of)
    found = judge(champion, log.with_columns(pl.when(IS_DUE).then(TRUTH)), policy)

    assert (found.state, found.outcome, found.sentence) == (ConceptState.UNKNOWN, None, reason)


def test_missing_labels_are_unknown(champion: Bundle, policy: Policy) -> None:
    found = judge(champion, without_labels(answered(champion)), policy)

    assert found.state is ConceptState.UNKNOWN
    assert "of 1,040 predictions that should have a label by now have one" in found.sentence


def test_a_bundle_that_does_not_know_what_to_expect_is_unknown(tmp_path: Path, policy: Policy) -> None:
    champion = made(tmp_path, learned=None)

    found = judge(champion, answered(champion, moved=0.3), policy)

    assert found.state is ConceptState.UNKNOWN
    assert found.sentence.startswith("its bundle does not say how far off it is")


def test_the_last_windows_with_labels_are_judged_and_no_older_ones(champion: Bundle, policy: Policy) -> None:
    """28 days up to two days ago, which is how long labels take; what moved before that is over."""
    old, new = answered(champion, moved=0.4, ends=30), answered(champion)

    found = judge(champion, pl.concat([old, new]), policy)
    everything = concept.measure(champion, pl.concat([old, new]), policy, None)

    assert (found.state, found.labelled) == (ConceptState.OK, 1040)
    assert everything is not None
    assert (everything.state, everything.labelled) == (ConceptState.MOVED, 2080)


def test_other_versions_do_not_speak_for_the_champion(champion: Bundle, policy: Policy) -> None:
    others = answered(champion, moved=0.4).with_columns(pl.lit("sha256:other").alias("digest"))

    assert judge(champion, pl.concat([answered(champion), others]), policy).state is ConceptState.OK


def test_without_a_limit_nobody_asks(champion: Bundle, policy: Policy) -> None:
    limits = msgspec.structs.replace(policy.monitor, max_bias=None)

    assert concept.measure(champion, answered(champion), msgspec.structs.replace(policy, monitor=limits), NOW) is None


def test_a_run_of_columns_and_labels_raises_as_many_false_alarms_as_the_policy_says(
    champion: Bundle, policy: Policy
) -> None:
    """Four columns, and labels that are alike within a day; taken for draws of their own they would alarm often."""
    rng = np.random.default_rng(7)
    limits = MonitorPolicy(min_rows=1, watch=1e-9, act=1e9, p_value=0.1, max_bias=1e-9)
    policy = msgspec.structs.replace(policy, monitor=limits)
    rows = np.repeat(np.arange(30), 40)

    def run() -> tuple[bool, bool]:
        before, now = (pl.DataFrame(rng.normal(size=(count, 4))) for count in (2000, 1000))
        moved = find(before, now, limits)[0].verdict is not Verdict.OK
        off = rng.normal(0, 0.1, 30)[rows] + rng.normal(0, 0.3, len(rows))
        log = answered(champion, days=30).with_columns((pl.col("score") + pl.Series(off)).alias(TRUTH))
        found = judge(champion, log, policy)
        naive = bias(log[TRUTH].to_numpy(), log["score"].to_numpy(), np.arange(len(rows)))
        assert found.outcome is not None and naive is not None
        alone = msgspec.structs.replace(found.outcome, error=naive.error, days=naive.days)
        return moved or found.state is ConceptState.MOVED, 2 * concept.chance(alone, LEARNED) < limits.p_value

    alarms = np.array([run() for _ in range(200)])

    three_standard_errors = 3 * np.sqrt(0.1 * 0.9 / 200)
    assert 0 < alarms[:, 0].mean() <= 0.1 + three_standard_errors
    assert alarms[:, 1].mean() > 0.2


def reported(bundle: Bundle, log: pl.DataFrame, policy: Policy, found: Concept | None) -> Report:
    known = log.with_columns(pl.lit(7).alias("version"), pl.lit(0.0).alias("answer"))
    limits = msgspec.structs.replace(policy.monitor, ignore=[])
    context = CheckContext(
        environment="production",
        bundle=bundle,
        log=known,
        limits=limits,
        judged=judge_log(bundle, known, limits),
        now=NOW,
        concept=found,
    )
    return report_of(context, CHECKS.values())


def test_labels_that_moved_ask_for_newer_rows_and_are_shown(champion: Bundle, policy: Policy) -> None:
    log = answered(champion, moved=0.2)
    found = judge(champion, log, policy)

    told = reported(champion, log.drop(CONTRACT.time or "day"), policy, found)

    assert (told.verdict, told.wants_retraining, told.exit_code) == (Verdict.ACT, True, 3)
    assert told.summary.startswith(found.sentence)
    assert told.next_step.startswith(f"mlops retrain --finding '{found.sentence}")
    assert f"concept moved: {found.sentence}" in report_text(told)
    page = monitor_page(told)
    assert found.sentence in page
    assert all(f"<span>{band.label}</span>" in page for band in found.bands)
    assert f"{100 * found.bands[0].now:.1f} %, {100 * found.bands[0].reference:.1f} % expected" in page


def test_labels_as_expected_change_no_verdict(champion: Bundle, policy: Policy) -> None:
    log = answered(champion)

    told = reported(champion, log, policy, judge(champion, log, policy))

    assert (told.verdict, told.wants_retraining) == (reported(champion, log, policy, None).verdict, False)
    assert "concept ok: late was true for" in report_text(told)


# ---------------------------------------------------------------------------- by score


def rows_of(kind: str, days: int, seed: int, *, turned_from: int | None = None, sure: float = 1) -> pl.DataFrame:
    """Rows of a model, 100 a day; from a day on the relation is reversed, and the mean as it was.

    It is `sure` times as sure as it may be.
    """
    rng = np.random.default_rng(seed)
    day = np.arange(days * 100) // 100
    odds = rng.normal(0, 1, len(day))
    happens = odds if turned_from is None else np.where(day < turned_from, odds, -odds)
    effect = rng.normal(0, 0.2, days)[day]
    if kind == "number":
        scores, truth = 5 + odds, 5 + happens + effect + rng.normal(0, 1, len(day))
    else:
        scores = 1 / (1 + np.exp(-sure * (odds - 1)))
        truth = (rng.random(len(day)) < 1 / (1 + np.exp(1 - happens - effect))).astype(float)
    at = pl.Series((day - days + 0.5) * 86_400_000_000).cast(pl.Duration("us")) + (NOW - timedelta(days=2))
    return pl.DataFrame({"at": at, "score": scores, TRUTH: truth, IS_DUE: np.full(len(day), True)}).with_columns(
        pl.col("at").dt.replace_time_zone(None).alias(CONTRACT.time or "day")
    )


def calibrated(kind: str, sure: float = 1) -> Calibration:
    tested = rows_of(kind, 60, seed=1, sure=sure)
    found = Calibration.of(Rows.of(tested, "at", TRUTH), kinds.named(kind))
    assert found is not None
    return found


def by_score(bundle: Bundle, policy: Policy, rows: pl.DataFrame, sure: float = 1) -> Concept:
    log = rows.with_columns(pl.lit(bundle.digest).alias("digest"))
    found = concept.measure(bundle, log, policy, NOW, calibrated(bundle.model.kind, sure))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["class", "number"])
@pytest.mark.parametrize("weeks", [1, 2])
def test_a_relation_that_is_reversed_is_told_though_the_mean_is_as_it_was(
    tmp_path: Path, policy: Policy, kind: str, weeks: int
) -> None:
    champion = made(tmp_path, kind=kind, learned=None)
    found = by_score(champion, policy, rows_of(kind, 42, seed=2, turned_from=42 - 7 * weeks))

    assert found.outcome is not None and found.slope is not None
    assert abs(found.outcome.happened - found.outcome.expected) < 0.15
    assert found.state is ConceptState.MOVED
    assert found.slope.moved
    assert found.slope.value < 0.3
    moved = [band for band in found.bands if band.moved]
    worst = max(moved, key=lambda band: abs(band.now - band.reference))
    assert found.bands[0].now > found.bands[0].reference
    assert moved[-1].now < moved[-1].reference
    assert f"; where the score is {worst.label}, " in found.sentence


@pytest.mark.parametrize("kind", ["class", "number"])
@pytest.mark.parametrize("turned_from", [None, 28, 40])
def test_the_interval_of_a_band_leaves_out_what_was_expected_where_chance_does_not_explain_it(
    tmp_path: Path, policy: Policy, kind: str, turned_from: int | None
) -> None:
    """So a picture of it shows what the verdict says."""
    champion = made(tmp_path, kind=kind, learned=None)

    found = by_score(champion, policy, rows_of(kind, 42, seed=2, turned_from=turned_from))

    judged = [(band, band.p_value, band.margin) for band in found.bands if band.p_value is not None]
    assert judged
    for band, p_value, margin in judged:
        assert margin is not None
        assert (abs(band.now - band.reference) > margin) is (p_value < policy.monitor.p_value)


def test_what_the_bands_show_is_told_in_text_and_on_the_page(champion: Bundle, policy: Policy) -> None:
    log = rows_of("class", 42, seed=2, turned_from=28)
    found = by_score(champion, policy, log)

    told = reported(
        champion, log.with_columns(pl.lit(champion.digest).alias("digest")).drop(CONTRACT.time or "day"), policy, found
    )

    assert (told.verdict, told.wants_retraining) == (Verdict.ACT, True)
    assert found.sentence in monitor_page(told)
    lines = report_text(told).splitlines()
    assert sum(line.startswith("  score ") for line in lines) == sum(band.moved for band in found.bands) > 1
    assert msgspec.json.decode(msgspec.json.encode(told), type=Report) == told


@pytest.mark.parametrize("kind", ["class", "number"])
@pytest.mark.parametrize("sure", [1, 2])
def test_what_was_off_on_the_test_rows_as_well_is_expected(
    tmp_path: Path, policy: Policy, kind: str, sure: float
) -> None:
    champion = made(tmp_path, kind=kind, learned=None)

    found = [by_score(champion, policy, rows_of(kind, 28, seed, sure=sure), sure) for seed in range(10, 30)]

    assert {one.state for one in found} == {ConceptState.OK}
    assert not any(band.moved for one in found for band in one.bands)
    assert all(one.slope and one.slope.value == pytest.approx(1, abs=0.3) for one in found)


def test_verdict_and_bands_never_contradict_each_other(champion: Bundle, policy: Policy) -> None:
    """Whatever part of the rows is turned: a verdict that acts has a difference to show, and bands that moved act."""
    states = set()
    for seed in range(12):
        rows = rows_of("class", 28, seed)
        part = pl.int_range(pl.len()) % 12 < seed
        found = by_score(
            champion, policy, rows.with_columns(pl.when(part).then(1 - pl.col(TRUTH)).otherwise(TRUTH).alias(TRUTH))
        )
        shown = [abs(band.now - band.reference) for band in found.bands]
        assert any(band.moved for band in found.bands) <= (found.state is ConceptState.MOVED)
        assert (found.state is ConceptState.MOVED) <= (max(shown) >= 0.05)
        states.add(found.state)

    assert states == {ConceptState.OK, ConceptState.MOVED}


# ---------------------------------------------------------------------------- by class

CLASSES = ("on time", "late", "very late")


def rows_of_classes(days: int, seed: int, *, turned_from: int | None = None, of: float = 0.5) -> pl.DataFrame:
    """100 rows a day of which most are on time, whatever is answered.

    From a day on a part `of` the late ones are very late, so that as many answers are right as before.
    """
    rng = np.random.default_rng(seed)
    day = np.arange(days * 100) // 100
    odds = rng.normal([1.5, 0, -1], [0.5, 0.3, 0.3], (len(day), 3))
    each = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    happened = (rng.random((len(day), 1)) > each.cumsum(axis=1)).sum(axis=1)
    if turned_from is not None:
        happened[(day >= turned_from) & (happened == 1) & (rng.random(len(day)) < of)] = 2
    at = pl.Series((day - days + 0.5) * 86_400_000_000).cast(pl.Duration("us")) + (NOW - timedelta(days=2))
    probabilities = pl.Series(each, dtype=pl.Array(pl.Float32, 3)).arr.to_list()
    return pl.DataFrame({
        "at": at, "score": each.max(axis=1), PROBABILITIES: probabilities, TRUTH: happened.astype(float),
        IS_DUE: np.full(len(day), True), CONTRACT.time or "day": at.dt.replace_time_zone(None),
    })  # fmt: skip


def by_class(bundle: Bundle, policy: Policy, log: pl.DataFrame) -> Concept:
    facts, tested = bundle.model, rows_of_classes(60, seed=1)
    rows = Rows.of(observed(tested, facts, TRUTH), "at", TRUTH)
    kind = kinds.named(facts.kind, facts.classes)
    told = Calibration.of(rows, kind, one_by_one(tested, rows.days, facts, TRUTH))
    found = concept.measure(bundle, log.with_columns(pl.lit(bundle.digest).alias("digest")), policy, NOW, told)
    assert found is not None
    return found


def test_a_class_that_happens_more_often_is_told_though_as_many_answers_are_right(
    tmp_path: Path, policy: Policy
) -> None:
    champion = made(tmp_path, kind="multiclass", learned=None, classes=CLASSES)

    found = by_class(champion, policy, rows_of_classes(42, seed=2, turned_from=14))

    late, very_late = found.classes[1:]
    assert found.state is ConceptState.MOVED
    assert [one.label for one in found.classes if one.moved] == ["late", "very late"]
    assert not any(band.moved for band in found.bands)
    assert found.outcome is not None
    assert abs(found.outcome.happened - found.outcome.expected) < 0.03
    assert very_late.now - very_late.reference == pytest.approx(late.reference - late.now, abs=0.03)
    farthest = max(found.classes, key=lambda one: abs(one.now - one.reference))
    assert f"; {farthest.label} happened to {100 * farthest.now:.1f} %, and" in found.sentence
    log = rows_of_classes(42, seed=2, turned_from=14).drop(CONTRACT.time or "day")
    log.select("score", PROBABILITIES).write_parquet(champion.reference)
    told = reported(champion, log.with_columns(pl.lit(champion.digest).alias("digest")), policy, found)
    assert f"  class very late: {100 * very_late.now:.1f} % happened" in report_text(told)
    page = monitor_page(told)
    assert "What happened by class: 2 of 3 classes are not as expected" in page
    assert page.index("<h3>By score</h3>") < page.index("<h3>By class</h3>")


def test_classes_raise_no_more_false_alarms_than_the_policy_says(tmp_path: Path, policy: Policy) -> None:
    champion = made(tmp_path, kind="multiclass", learned=None, classes=CLASSES)
    limits = msgspec.structs.replace(policy.monitor, p_value=0.2, max_bias=1e-9)
    eager = msgspec.structs.replace(policy, monitor=limits)

    alarms = [by_class(champion, eager, rows_of_classes(28, seed)).state is ConceptState.MOVED for seed in range(100)]

    # Labels have a part of the chance, and columns the rest.
    assert 0 < np.mean(alarms) <= 0.2 / limits.parts + 3 * np.sqrt(0.1 * 0.9 / 100)


def test_an_older_bundle_is_judged_by_its_mean_and_the_page_says_so(champion: Bundle, policy: Policy) -> None:
    log = answered(champion)
    found = judge(champion, log, policy)

    assert found.slope is None
    assert {(band.p_value, band.moved) for band in found.bands} == {(None, False)}
    assert found.by_score.endswith("low and high scores are shown and not judged")
    told = reported(champion, log, policy, found)
    assert found.by_score in report_text(told)
    assert found.by_score in monitor_page(told)


def test_test_rows_come_from_the_bundle_or_from_the_checkout_that_made_it(project: Project, sealed: Bundle) -> None:
    sealed.tested.unlink()
    here = calibration(project, sealed)
    rows = pl.read_parquet(project.root / "data" / "test.parquet")
    assert here is not None
    assert len(here.tested) == rows.height
    rows.head(rows.height - 1).write_parquet(project.root / "data" / "test.parquet")
    assert calibration(project, sealed) is None, "these are others than the version was tested on"

    told = pl.DataFrame(
        {"score": here.tested.scores, "truth": here.tested.truth, str(CONTRACT.time): rows[str(CONTRACT.time)]}
    )
    told.write_parquet(sealed.tested)

    there = calibration(project, sealed)
    assert there is not None
    assert there.corrections.tolist() == here.corrections.tolist()
