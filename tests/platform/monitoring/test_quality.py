"""The champion's metric: a fall is told whatever its age, chance is not; and what its scores let expect."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from slipway import kinds
from slipway.contract.columns import Column
from slipway.experiment.statistics import Sample
from slipway.monitoring import estimate, quality
from slipway.monitoring.calibration import Calibration, Rows
from slipway.monitoring.contrasts import correlation
from slipway.monitoring.estimate import EstimateState, MetricRule
from slipway.monitoring.quality import Quality, QualityState
from slipway.settings.policy import MonitorPolicy, QualityPolicy

A_DAY, LEVEL, DROP = 100, 0.16, 0.03
LIMITS = MonitorPolicy(
    min_rows=200,
    watch=0.1,
    act=0.25,
    p_value=0.01,
    max_bias=0.05,
    quality=QualityPolicy(metric="brier", drop=DROP, min_rows=500, action="propose"),
)
Errors = NDArray[np.float64]


def mean(truth: Column, scores: Column) -> float:
    return float(np.mean(scores - truth))


def judged(errors: Errors, limit: float = LEVEL + DROP, sign: int = -1, a_day: int = A_DAY, unfit: str = "") -> Quality:
    sample = Sample(np.zeros(len(errors)), errors, np.arange(len(errors)) // a_day, mean)
    return quality.assess(sample, LIMITS, limit=limit, sign=sign, unfit=unfit)


def days_until_told(age: int, worse_by: float, days: int, seed: int) -> int | None:
    """Look every day at a champion that was good for `age` days and is worse from then on."""
    rng = np.random.default_rng(seed)
    levels = np.where(np.arange(age + days) < age, LEVEL, LEVEL + worse_by)
    errors = (np.repeat(levels + rng.normal(0, 0.01, age + days), A_DAY)) + rng.normal(0, 0.2, (age + days) * A_DAY)
    for seen in range(1, days + 1):
        if judged(errors[: (age + seen) * A_DAY]).state is QualityState.BROKEN:
            return seen
    return None


@pytest.mark.parametrize("age", [0, 30, 180, 365])
def test_a_fall_of_twice_the_drop_is_told_within_35_days_whatever_the_age(age: int) -> None:
    assert all((days_until_told(age, 2 * DROP, 35, seed) or 99) <= 35 for seed in range(3))


def test_a_quarter_of_daily_looks_at_a_champion_that_is_as_it_was_tells_nothing() -> None:
    assert [days_until_told(30, 0, 91, seed) for seed in range(5)] == [None] * 5


@pytest.mark.parametrize("sign", [1, -1])
def test_only_a_certain_fall_beyond_the_limit_is_a_broken_champion(sign: int) -> None:
    rng = np.random.default_rng(1)
    noise = np.repeat(rng.normal(0, 0.01, 40), A_DAY) + rng.normal(0, 0.2, 40 * A_DAY)

    states = {level: judged(sign * (level + noise), limit=sign * 0.6, sign=sign).state for level in (0.65, 0.598, 0.55)}

    assert states == {0.65: QualityState.OK, 0.598: QualityState.UNKNOWN, 0.55: QualityState.BROKEN}


def test_the_stretch_that_decides_is_told_with_the_others() -> None:
    errors = np.repeat(np.where(np.arange(200) < 180, 0.16, 0.3), A_DAY) + np.tile([-0.2, 0.2], 100 * A_DAY)
    found = judged(errors + np.repeat(np.random.default_rng(2).normal(0, 0.01, 200), A_DAY))

    assert found.state is QualityState.BROKEN
    assert [one.days for one in found.stretches] == [7, 14, 28, 56, 112]
    assert found.days == 14
    assert found.sentence == f"brier is {found.value:.4f} on 1,400 labelled predictions of 14 days, the limit is 0.1900"


@pytest.mark.parametrize(
    ("errors", "unfit", "sentence"),
    [
        (np.zeros(0), "", "0 labelled predictions by the champion, at least 500 are needed"),
        (np.full(400, 0.5), "", "400 labelled predictions by the champion, at least 500 are needed"),
        (np.full(900, 0.5), "few labels", "few labels"),
    ],
)
def test_what_is_too_little_is_unknown(errors: Errors, unfit: str, sentence: str) -> None:
    found = judged(errors, unfit=unfit)

    assert (found.state, found.sentence, found.value) == (QualityState.UNKNOWN, sentence, None)


def test_rows_of_one_day_are_no_proof_however_many() -> None:
    few = judged(np.full(2000, 0.5), a_day=1000)

    assert few.sentence == "its labels do not decide brier; they must be of at least 5 days"


def test_where_labels_are_rare_the_stretches_are_longer() -> None:
    rng = np.random.default_rng(3)
    found = judged(0.3 + rng.normal(0, 0.05, 600), a_day=1)

    assert [one.days for one in found.stretches] == [600]
    assert found.state is QualityState.BROKEN


def test_days_like_their_neighbours_count_for_fewer() -> None:
    """The same errors, sorted within months, are the same mean with a larger error."""
    rng = np.random.default_rng(4)
    steps = rng.normal(0, 1, 112)
    alike = steps.copy()
    for day in range(1, 112):
        alike[day] = 0.9 * alike[day - 1] + 0.44 * steps[day]

    assert correlation(steps) == 0
    assert correlation(alike) > 0.5
    assert correlation(np.repeat([0.0, 10], 56) + steps) == 0, "one change of level is no likeness"


# ---------------------------------------------------------------------------- before labels


def squared(truth: Column, scores: Column) -> float:
    return float(np.mean(np.square(truth - scores)))


def world(days: int, kind: str, seed: int, spread: float = 1, wrong: float = 1) -> pl.DataFrame:
    """Rows of a calibrated model, `wrong` times too sure; `spread` is how far its scores are apart."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, spread, days * A_DAY)
    chance = 1 / (1 + np.exp(-odds))
    number = np.arange(days * A_DAY) // A_DAY
    if kind == "number":
        scores, truth = odds, odds + rng.normal(0.5, 1 + (odds > -1), len(odds))
    else:
        scores, truth = 1 / (1 + np.exp(-wrong * odds)), (rng.random(len(odds)) < chance).astype(float)
    at = pl.Series(number * 86_400_000_000).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"at": at, "score": scores, "truth": truth})


def calibrated(kind: str, wrong: float = 1) -> Calibration:
    found = Calibration.of(Rows.of(world(60, kind, seed=5, wrong=wrong), "at"), kinds.named(kind))
    assert found is not None
    return found


@pytest.mark.parametrize(("kind", "wrong"), [("class", 1), ("class", 2), ("number", 1)])
@pytest.mark.parametrize("spread", [1, 0.3])
def test_the_metric_is_where_the_scores_let_expect_it(kind: str, wrong: float, spread: float) -> None:
    """Also of a model that is too sure, of errors that depend on the score, and of rows that are other ones."""
    held = 0
    for seed in range(10):
        rows = world(7, kind, seed=100 + seed, spread=spread, wrong=wrong)
        found = estimate.expect(calibrated(kind, wrong), rows["score"].to_numpy(), squared)
        assert found is not None
        held += found.low <= squared(rows["truth"].to_numpy(), rows["score"].to_numpy()) <= found.high

    assert held >= 8


def compared(latest: pl.DataFrame, known: pl.DataFrame, limit: float | None = 0.2) -> estimate.QualityEstimate:
    rule = MetricRule("brier", squared, sign=-1, limit=limit, accepted=None if limit is None else DROP)
    return estimate.compare(calibrated("class"), latest, known, rule, LIMITS)


def test_harder_rows_are_told_before_their_labels_come() -> None:
    hard = world(7, "class", seed=6).with_columns(score=pl.lit(0.5) + (pl.col("score") - 0.5) / 20)
    easy = world(7, "class", seed=7)

    told = compared(hard, easy.clear(), limit=0.19)

    assert (told.state, told.happened) == (EstimateState.WORSE, None)
    assert told.sentence.endswith("and the limit is 0.1900")
    assert compared(easy, easy.clear(), limit=0.19).state is EstimateState.OK


def test_labels_that_part_from_the_scores_are_told() -> None:
    rows = world(28, "class", seed=8)
    turned = rows.with_columns(truth=1 - pl.col("truth"))

    assert compared(rows, rows).state is EstimateState.OK
    assert compared(rows, turned).state is EstimateState.PARTED
    assert compared(rows, turned, limit=None).state is EstimateState.OK, "without a limit it is only shown"


def test_what_cannot_be_expected_says_why() -> None:
    rows = world(7, "class", seed=9)
    rule = MetricRule("brier", squared)

    few = estimate.compare(calibrated("class"), rows.head(10), rows, rule, LIMITS)
    old = estimate.compare(None, rows, rows, rule, LIMITS)

    assert (few.state, few.sentence) == (EstimateState.UNKNOWN, "10 predictions, at least 200 are needed")
    assert old.sentence == "its bundle holds too few answers to rows that it had not learned from, or none"
    assert msgspec.json.decode(msgspec.json.encode(few), type=estimate.QualityEstimate) == few
