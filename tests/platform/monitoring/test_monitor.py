from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT as PROJECT_CONTRACT
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.contract.rows import Contract, Row
from slipway.log import predictions
from slipway.log.predictions import Prediction
from slipway.monitoring import run
from slipway.monitoring.checks import CHECKS, CheckContext
from slipway.monitoring.days import Days
from slipway.monitoring.drift import ColumnDrift, Verdict, find
from slipway.monitoring.judge import judge_log
from slipway.monitoring.refused import Refused
from slipway.monitoring.report import Report, report_of, report_text
from slipway.pages.monitor_page import monitor_page
from slipway.settings.policy import LabelPolicy, MonitorPolicy
from slipway.settings.project import Project
from slipway.training import export
from slipway.training.bundle import SUMS, Bundle, ModelFacts

POLICY = MonitorPolicy(min_rows=200, watch=0.1, act=0.25, p_value=0.01)
TIME = PROJECT_CONTRACT.time


class Parcel(Row):
    """A row of another trade: what is tested here must hold for any contract."""

    sent: datetime
    weight: float | None
    pieces: int
    service: Literal["day", "night"]
    fragile: bool
    note: str


class Delivery(Row):
    days: int


CONTRACT = Contract(row=Parcel, outcome=Delivery, time="sent", key=("note",), max_age_days=7)


def parcels(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "sent": [datetime(2013, 9, 1) - timedelta(hours=number) for number in range(count)],
            "weight": rng.lognormal(1, 0.5, count),
            "pieces": rng.poisson(2, count),
            "service": rng.choice(["day", "night"], count, p=[0.7, 0.3]),
            "fragile": rng.random(count) < 0.1,
            "note": [f"parcel {number}" for number in range(count)],
            "score": rng.beta(2, 6, count),
        }
    )


def logged(rows: pl.DataFrame, digest: str, version: int = 7) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit("id").alias("id"),
        pl.lit(datetime(2013, 9, 30, tzinfo=UTC)).alias("at"),
        pl.lit(version).alias("version"),
        pl.lit(digest).alias("digest"),
        (pl.col("score") >= 0.5).cast(pl.Float64).alias("answer"),
    )


@pytest.fixture
def champion(tmp_path: Path) -> Bundle:
    facts = ModelFacts(name="late-parcels", answer="late", kind="class", threshold=0.5, features=[], contract="")
    write_json(tmp_path / "model.json", facts)
    parcels(2000, seed=1).write_parquet(tmp_path / "reference.parquet")
    parcels(2000, seed=3).select("sent", "score").write_parquet(tmp_path / "tested.parquet")
    (tmp_path / SUMS).write_text("the champion")
    return Bundle(tmp_path)


def reported(champion: Bundle, log: pl.DataFrame, policy: MonitorPolicy = POLICY, **facts: Any) -> Report:
    """What the monitor says of a log, a month after the newest row that the champion learned from."""
    known: dict[str, Any] = {
        "environment": "production",
        "bundle": champion,
        "log": log,
        "limits": policy,
        "judged": judge_log(champion, log, policy, CONTRACT),
        "now": datetime(2013, 10, 1, tzinfo=UTC),
    }
    return report_of(CheckContext(**known | facts), CHECKS.values())


def judge(champion: Bundle, rows: pl.DataFrame, policy: MonitorPolicy = POLICY, **facts: Any) -> Report:
    return reported(champion, logged(rows, champion.digest), policy, **facts)


def test_rows_like_the_reference_are_ok_as_json_too(champion: Bundle) -> None:
    judged = judge(champion, parcels(1000, seed=2))

    assert judged.exit_code == 0
    assert {column.verdict for column in judged.columns} == {Verdict.OK}
    assert {column.name for column in judged.columns} == {
        "weight", "pieces", "service", "fragile", "note", "score", "late"
    }  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(judged), type=Report) == judged


@pytest.mark.parametrize(
    ("column", "change", "sentence"),
    [
        ("weight", pl.col("weight") * 3, "weight is above 5.14 in 81.8 % of rows, before in 10.1 %"),
        ("weight", pl.when(pl.int_range(pl.len()) % 2 > 0).then("weight"), "weight is missing in 50.0 % of"),
        ("pieces", pl.col("pieces") * 0, "pieces is 0 in 100.0 % of rows, before in 1"),
        ("service", pl.lit("dawn"), "service is dawn in 100.0 % of rows, before in 0.0 %"),
        ("fragile", ~pl.col("fragile"), "fragile is true in 89.3 % of rows, before in 9.5 %"),
        ("score", pl.col("score") + 0.4, "score is above 0."),
    ],
)
def test_the_column_that_moved_comes_first_and_the_answer_last(
    champion: Bundle, column: str, change: pl.Expr, sentence: str
) -> None:
    judged = judge(champion, parcels(1000, seed=2).with_columns(change.alias(column)))
    lines = report_text(judged).splitlines()

    assert judged.exit_code == 3
    assert sentence in judged.columns[0].sentence
    assert [line.split()[0] for line in lines[5:7]] == [column, judged.columns[1].name]
    assert lines[-2].startswith(f"act: {judged.columns[0].sentence}")
    assert lines[-1] == f"next: mlops retrain --finding {shlex.quote(judged.summary)}"


def test_what_chance_explains_is_ok_and_stands_below_a_smaller_real_change() -> None:
    """Sixty groups on 200 rows are never quite alike: chance alone takes their index over the limit."""
    rng = np.random.default_rng(5)

    def rows(count: int, late: float) -> pl.DataFrame:
        return pl.DataFrame({"many": rng.integers(0, 60, count).astype(str), "flag": rng.random(count) < late})

    flag, many = find(rows(2000, late=0.1), rows(200, late=0.22), POLICY)

    assert (flag.name, flag.verdict) == ("flag", Verdict.WATCH)
    assert (many.name, many.verdict) == ("many", Verdict.OK)
    assert many.size > flag.size > POLICY.watch
    assert many.sentence == "many differs by no more than chance explains"


@pytest.mark.parametrize("count", [199, 0])
def test_too_few_rows_say_nothing_however_far_they_moved(champion: Bundle, count: int) -> None:
    judged = judge(champion, parcels(199, seed=2).with_columns(pl.col("weight") * 3).head(count))

    assert judged.verdict is Verdict.INSUFFICIENT_DATA
    assert judged.exit_code == 0
    assert f"insufficient data: {count} predictions by the champion" in report_text(judged)


def test_predictions_of_other_versions_are_counted_and_not_mixed_in(champion: Bundle) -> None:
    own = logged(parcels(1000, seed=2), champion.digest)
    others = logged(parcels(500, seed=3).with_columns(pl.col("weight") * 3), "sha256:other", version=6)

    judged = reported(champion, pl.concat([others, own]))

    assert (judged.predictions, judged.other_versions, judged.version) == (1000, 500, 7)
    assert judged.verdict is Verdict.OK


def test_a_quantity_is_compared_as_a_number(champion: Bundle) -> None:
    write_json(champion.path / "model.json", msgspec.structs.replace(champion.model, answer="days", kind="number"))

    judged = judge(Bundle(champion.path), parcels(1000, seed=2).with_columns(pl.col("score") + 4))

    assert judged.columns[0].sentence.startswith("days is above 0.")


def test_what_is_not_compared_is_said(champion: Bundle) -> None:
    policy = msgspec.structs.replace(POLICY, ignore=["weight", "late"])

    judged = judge(champion, parcels(1000, seed=2).with_columns(pl.col("weight") * 3), policy)

    assert {column.name for column in judged.columns} == {"pieces", "service", "fragile", "note", "score"}
    assert judged.left_out.keys() == {"sent", "weight", "late"}
    assert "not compared: weight, ignored by policy.yaml" in report_text(judged)


def test_a_misspelt_name_in_the_policy_is_refused(champion: Bundle) -> None:
    policy = msgspec.structs.replace(POLICY, ignore=["wieght"])

    with pytest.raises(MlopsError, match=r"policy.yaml, monitor.ignore: there is no column wieght"):
        judge(champion, parcels(1000, seed=2), policy)


@pytest.mark.parametrize("kind", ["numbers", "names"])
def test_a_run_raises_a_false_alarm_as_often_as_the_policy_says(kind: str) -> None:
    """Ten columns of one population, compared 200 times; without the correction two runs in three would alarm.

    Most of the names are rare; counted one by one they would drown every alarm.
    """
    rng = np.random.default_rng(7)
    policy = MonitorPolicy(min_rows=1, watch=1e-9, act=1e9, p_value=0.1)
    shape = (20_000, 10)
    population = rng.lognormal(size=shape) if kind == "numbers" else rng.zipf(2, shape).astype(str)

    def raises_alarm() -> bool:
        before, now = (pl.DataFrame(rng.choice(population, rows)) for rows in (1000, 300))
        return find(before, now, policy)[0].verdict is not Verdict.OK

    rate = np.mean([raises_alarm() for _ in range(200)])

    three_standard_errors = 3 * np.sqrt(0.1 * 0.9 / 200)
    assert 0 < rate <= 0.1 + three_standard_errors


def test_days_that_differ_raise_no_more_alarms_than_the_policy_says() -> None:
    """Ten columns that are alike within a day. Rows taken for draws of their own would alarm each time."""
    rng = np.random.default_rng(7)
    policy = MonitorPolicy(min_rows=1, watch=1e-9, act=1e9, p_value=0.1)

    def lived(days: int) -> tuple[pl.DataFrame, pl.Series]:
        rows = rng.normal(size=(days, 40, 10)) + rng.normal(size=(days, 1, 10))
        times = [datetime(2013, 1, 1) + timedelta(day) for day in range(days) for _ in range(40)]
        return pl.DataFrame(rows.reshape(-1, 10)), pl.Series(times)

    def raises_alarm(*, with_days: bool) -> bool:
        (before, then), (now, today) = lived(120), lived(14)
        days = Days.of(then, today) if with_days else None
        return find(before, now, policy, days)[0].verdict is not Verdict.OK

    assert all(raises_alarm(with_days=False) for _ in range(20))
    rate = np.mean([raises_alarm(with_days=True) for _ in range(100)])
    three_standard_errors = 3 * np.sqrt(0.1 * 0.9 / 100)
    assert rate <= 0.1 + three_standard_errors


def test_days_that_all_moved_are_told_from_days_that_differ() -> None:
    rng = np.random.default_rng(7)
    times = pl.Series([datetime(2013, 1, 1) + timedelta(hours=hour) for hour in range(24 * 60)])
    before, now = (pl.DataFrame({"size": rng.normal(shift, size=len(times))}) for shift in (0, 0.8))

    (found,) = find(before, now, POLICY, Days.of(times, times.head(24 * 20)))

    assert found.verdict is Verdict.ACT


def test_days_that_are_too_few_to_tell_say_so_and_raise_no_alarm() -> None:
    rng = np.random.default_rng(7)
    times = pl.Series([datetime(2013, 1, 1) + timedelta(hours=hour) for hour in range(24 * 60)])
    before, now = (pl.DataFrame({"size": rng.normal(shift, size=len(times))}) for shift in (0, 0.8))
    few = times.head(24 * 9)

    (found,) = find(before.head(len(few)), now, POLICY, Days.of(few, times))
    (alike,) = find(before.head(len(few)), before, POLICY, Days.of(few, times))

    assert (found.verdict, alike.verdict) == (Verdict.INSUFFICIENT_DATA, Verdict.OK)
    assert "the reference has 9 days, and at least 90 tell how much days differ" in found.sentence


def in_season(rows: pl.DataFrame) -> pl.DataFrame:
    """Parcels are light in some months and heavy in others."""
    turns = pl.col("sent").dt.ordinal_day() * (2 * np.pi / 365)
    return rows.with_columns(pl.col("weight") * (2 * turns.sin()).exp())


def test_a_column_of_which_nothing_can_be_told_hides_no_other(champion: Bundle) -> None:
    in_season(parcels(24 * 180, seed=1)).write_parquet(champion.reference)
    later = in_season(parcels(24 * 14, seed=2).with_columns(pl.col("sent") + timedelta(days=14)))

    quiet, moved = judge(champion, later), judge(champion, later.with_columns(service=pl.lit("dawn")))

    assert (quiet.verdict, moved.verdict) == (Verdict.INSUFFICIENT_DATA, Verdict.ACT)
    assert {one.name for one in quiet.columns if one.verdict is not Verdict.OK} == {"weight"}
    assert "weight differs, perhaps by chance: the reference has 181 days, alike over " in quiet.summary
    assert quiet.summary.endswith(
        " at a time, so that a season cannot be told from a change; the other 6 columns look like the reference"
    )
    assert "monitor.ignore" in quiet.next_step
    assert moved.summary == "service is dawn in 100.0 % of rows, before in 0.0 %; no change of weight can be told"


def test_so_many_days_as_are_said_to_tell_a_change_tell_it() -> None:
    def judged(days: int) -> ColumnDrift:
        rng = np.random.default_rng(4)
        times = pl.Series([datetime(2013, 1, 1) + timedelta(hours=hour) for hour in range(24 * days)])
        before, now = (pl.DataFrame({"size": rng.normal(shift, size=len(times))}) for shift in (0, 3))
        return find(before, now.head(24 * 10), POLICY, Days.of(times, times.head(24 * 10)))[0]

    few = judged(12)

    assert few.verdict is Verdict.INSUFFICIENT_DATA
    assert few.sentence.endswith("the reference has 12 days, and at least 90 tell how much days differ")
    assert judged(90).verdict is Verdict.ACT


def test_a_run_reads_the_log_of_the_environment(project: Project, sealed: Bundle) -> None:
    score = sealed.golden.scores[0]
    facts: dict[str, Any] = {"version": 1, "digest": sealed.digest, "row": sealed.golden.rows[0]}
    times = [datetime(2013, 9, day, tzinfo=UTC) for day in (1, 2, 3)]
    about: dict[str, Any] = {"environment": "production", "score": score, "answer": True}
    lines = [Prediction(id=f"id-{number}", at=at, **about, **facts) for number, at in enumerate(times)]
    log = predictions.folder(project.state, "production") / "2013-09-03.1.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"\n".join(map(msgspec.json.encode, lines)))

    project.policy.monitor.quality = None  # that part needs Git

    judged = run.run(project, "production", sealed, since=times[1])

    assert judged.predictions == 2
    assert judged.verdict is Verdict.INSUFFICIENT_DATA
    assert "2 predictions" in monitor_page(judged)

    later = run.run(project, "production", sealed, since=times[1], until=times[2])

    assert later.predictions == 1
    assert later.learned_until is None or later.age_days == pytest.approx(
        (times[2].replace(tzinfo=None) - later.learned_until).total_seconds() / 86_400, abs=0.1
    )


def at_age(champion: Bundle, limit: float | None, change: pl.Expr, rows: int = 1000) -> Report:
    """A month after the newest row that the champion learned from, in a policy with or without a limit."""
    policy = msgspec.structs.replace(POLICY, max_age_days=limit)
    return judge(champion, parcels(rows, seed=2).with_columns(change), policy)


@pytest.mark.parametrize("rows", [1000, 10], ids=["all is well", "too few rows"])
def test_a_champion_that_is_too_old_is_worth_a_look_and_the_next_step_is_to_train(champion: Bundle, rows: int) -> None:
    judged = at_age(champion, 29, pl.col("weight"), rows)

    told = "the champion learned from rows until 2013-09-01, 30 days ago, monitor.max_age_days is 29"
    assert report_text(judged).splitlines()[-2:] == [f"watch: {told}", "next: mlops retrain"]
    assert told in monitor_page(judged)
    assert msgspec.json.decode(msgspec.json.encode(judged))["age_days"] == 30
    assert judged.exit_code == 0


@pytest.mark.parametrize("limit", [None, 30], ids=["nobody asks", "young enough"])
def test_the_age_is_told_and_changes_no_verdict(champion: Bundle, limit: float | None) -> None:
    judged = at_age(champion, limit, pl.col("weight"))

    assert judged.verdict is Verdict.OK
    assert report_text(judged).splitlines()[2].startswith("the champion learned from rows until 2013-09-01, 30 d")
    assert "The champion learned from rows until 2013-09-01, 30 days ago" in monitor_page(judged)


def test_age_does_not_hide_what_asks_for_more(champion: Bundle) -> None:
    judged = at_age(champion, 29, pl.col("weight") * 3)

    lines = report_text(judged).splitlines()
    assert judged.verdict is Verdict.ACT
    assert "30 days ago, monitor.max_age_days is 29" in lines[2]
    assert lines[-2].startswith("act: weight is above")


def test_a_limit_of_age_is_refused_where_nothing_has_an_age(champion: Bundle) -> None:
    pl.read_parquet(champion.reference).drop("sent").write_parquet(champion.reference)

    assert at_age(champion, None, pl.col("weight")).age_days is None
    with pytest.raises(MlopsError, match=r"monitor.max_age_days: the champion's reference rows have no time"):
        at_age(champion, 29, pl.col("weight"))


@pytest.mark.skipif(TIME is None, reason="rows without a time have no age")
def test_the_newest_training_row_is_in_the_reference(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they lie: the age of the model is told by it."""
    file = project.root / "data" / "train.parquet"
    train = pl.read_parquet(file).sample(fraction=1, shuffle=True, seed=1)
    train.write_parquet(file)
    monkeypatch.setattr(export, "REFERENCE_ROWS", 20)

    export.export(project)

    reference = pl.read_parquet(project.bundle / "reference.parquet")
    assert reference.height == 20
    assert reference[str(TIME)].max() == train[str(TIME)].max()


def refused(times: int, share: float, *, accepted: bool = False) -> Refused:
    return Refused(
        field="service", rule="category", times=times, share=share, accepted=accepted, values=["'<dawn>' 50 times"],
        sentence=f"service is none of its categories: {times} refused",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "limit", "verdict"),
    [
        (refused(20, 0.01), 0.01, Verdict.ACT),
        (refused(20, 0.009), 0.01, Verdict.WATCH),
        (refused(19, 0.9), 0.01, Verdict.OK),
        (refused(20, 0.9, accepted=True), 0.01, Verdict.OK),
        (refused(20, 0.9), None, Verdict.OK),
    ],
    ids=["a large share", "a small share", "too few", "accepted by now", "no limit in the policy"],
)
def test_what_was_refused_is_shown_and_judged_by_the_policy(
    champion: Bundle, one: Refused, limit: float | None, verdict: Verdict
) -> None:
    policy = msgspec.structs.replace(POLICY, max_refused=limit)
    judged = judge(champion, parcels(1000, seed=2), policy)
    shown = judge(champion, parcels(1000, seed=2), policy, start=datetime(2013, 9, 1, tzinfo=UTC), refused=[one])

    assert shown.verdict is verdict
    assert (shown.wants_widening, shown.wants_retraining) == (verdict is Verdict.ACT, False)
    assert f"{one.sentence}: '<dawn>' 50 times" in report_text(shown)
    assert "&lt;dawn&gt;" in monitor_page(shown)
    expected = judged.next_step if verdict is Verdict.OK else "mlops widen production --since 2013-09-01T00:00"
    assert shown.next_step == expected


def test_columns_that_moved_are_not_forgotten_over_what_was_refused(champion: Bundle) -> None:
    policy = msgspec.structs.replace(POLICY, max_refused=0.01)
    heavy = parcels(1000, seed=2).with_columns(pl.col("weight") * 3)
    judged = judge(champion, heavy, policy)

    both = judge(champion, heavy, policy, refused=[refused(50, 0.1)])
    barely = judge(champion, heavy, policy, refused=[refused(50, 0.001)])

    assert both.summary == f"service is none of its categories: 50 refused; {judged.summary}"
    assert both.next_step == f"mlops widen production, then {judged.next_step}"
    assert both.wants_retraining
    assert (barely.summary, barely.next_step) == (judged.summary, judged.next_step)


def test_the_page_shows_every_column_and_escapes_what_it_shows(champion: Bundle) -> None:
    judged = judge(champion, parcels(1000, seed=2).with_columns(pl.lit('<b>"').alias("service")))

    html = monitor_page(judged)

    assert '<b>"' not in html
    assert "service is &lt;b&gt;&#34; in 100.0 % of rows" in html
    assert "Share of rows: day 7" in html
    assert html.count('role="img"') == len(judged.columns) == 7


def test_a_page_of_five_hundred_columns_holds_everything_and_is_below_two_megabytes(champion: Bundle) -> None:
    rng = np.random.default_rng(7)
    before, now = (pl.DataFrame(rng.normal(size=(2000, 500)), [f"column {n}" for n in range(500)]) for _ in range(2))
    judged = msgspec.structs.replace(judge(champion, parcels(1000, seed=2)), columns=find(before, now, POLICY))

    html = monitor_page(judged)

    assert html.count('role="img"') == 500
    assert len(html.encode()) < 2_000_000
    assert [word for word in ("<script", "<link", "src=", "url(", "@import") if word in html] == []


def test_answers_are_compared_with_those_to_rows_that_the_model_did_not_learn_from(champion: Bundle) -> None:
    """A model that overfits is sure of what it learned from, and of nothing else."""
    sure = parcels(2000, seed=1).with_columns(score=(pl.col("score") > 0.2).cast(pl.Float64))
    sure.write_parquet(champion.reference)

    assert judge(champion, parcels(1000, seed=2)).verdict is Verdict.OK


def test_a_bundle_without_such_scores_says_why_they_are_not_compared(champion: Bundle) -> None:
    champion.tested.unlink()

    judged = judge(champion, parcels(1000, seed=2).with_columns(pl.lit(0.9).alias("score")))

    assert judged.verdict is Verdict.OK
    assert judged.left_out.keys() == {"sent", "score", "late"}
    assert "not compared: score, its bundle has only the scores of rows that it learned from" in report_text(judged)


def test_too_few_test_rows_are_said_and_decide_nothing(champion: Bundle) -> None:
    pl.read_parquet(champion.tested).head(199).write_parquet(champion.tested)

    judged = judge(champion, parcels(1000, seed=2))

    assert judged.verdict is Verdict.OK
    assert judged.left_out["score"] == "its bundle has the scores of 199 test rows, at least 200 are needed"


def test_exported_scores_are_of_test_rows(project: Project) -> None:
    """In the bundle, and in what the live metric of scores is compared with."""
    export.export(project)

    bundle, test = Bundle(project.bundle), pl.read_parquet(project.root / "data" / "test.parquet")
    scores = pl.read_parquet(bundle.tested)
    assert scores.height == test.height == sum(bundle.expected.scores.counts)
    if TIME is not None:
        assert scores[TIME].equals(test[TIME])


def test_a_bad_label_and_a_log_copied_twice_are_told_and_stop_nothing(project: Project, sealed: Bundle) -> None:
    now, row = datetime(2013, 9, 20, tzinfo=UTC), sealed.golden.rows[0]
    facts: dict[str, Any] = {"version": 1, "digest": sealed.digest, "environment": "production", "row": row}
    log = predictions.folder(project.state, "production")
    log.mkdir(parents=True)
    lines = [
        msgspec.json.encode(
            Prediction(id=f"{number}", at=now - timedelta(days=number % 6 + 1), score=0.5, answer=True, **facts)
        )
        for number in range(300)
    ]
    for name in ("2013-09-19.1.jsonl", "2013-09-19.copy.jsonl"):
        (log / name).write_bytes(b"\n".join([*lines, b'{"torn": ']))
    folder = project.root / "data" / "labels"
    folder.mkdir()
    outcome = PROJECT_CONTRACT.outcome_fields[0].name
    rows = "".join(f"{number},{'never' if number == 7 else number % 40}\n" for number in range(301))
    (folder / "day.csv").write_text(f"id,{outcome}\n{rows}", encoding="utf-8")
    (folder / "other.csv").write_text(f"key,{outcome}\n1,2\n", encoding="utf-8")
    project.policy.monitor.quality = None  # that part needs Git
    project.policy.labels = LabelPolicy(source="data/labels", key=["id"])

    judged = run.run(project, "production", sealed, until=now)

    assert judged.predictions == 300
    assert (judged.logged.again, judged.logged.torn) == (300, 2)
    told = judged.labels
    assert told is not None
    assert (told.read, told.refused, told.unknown, told.files) == (301, 1, 1, 1)
    assert judged.windows[-1].quality[0].labelled == 299
    text, page = report_text(judged), monitor_page(judged)
    for said in (
        "other.csv has no column id; it has key,",
        f"refused, and not counted: 1 label; {outcome}: must be an integer in 1 row, first day.csv:8 = never",
        "without a prediction in this log: 1 of 300 labels, first day.csv:301",
        "predictions that are in the log more than once, and counted once: 300",
        "lines of the log that are no prediction, and left out: 2",
    ):
        assert said in text
        assert said in page
