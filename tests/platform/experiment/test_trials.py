"""Who is promoted in worlds of which the truth is known: a small version of the trials in `benchmarks/truth.py`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from slipway import Contract, Row
from slipway.contract.columns import Column
from slipway.data.labels import IS_DUE, TRUTH
from slipway.experiment import routing, samples, spread, statistics
from slipway.experiment.statistics import Decision, Estimate, Sample, difference
from slipway.settings.policy import ExperimentPolicy

BENCHMARKS = str(Path(__file__).parents[3] / "benchmarks")
if BENCHMARKS not in sys.path:
    sys.path.append(BENCHMARKS)

#: The benchmark's own worlds and looks; its folder is no package of the tests.
trials = importlib.import_module("simulations.trials")

TRIALS = 40
RULE = ExperimentPolicy(metric="error", smallest_gain=0.1, min_rows=200, max_days=30, alpha=0.1)
BEGUN = datetime(2030, 6, 1, tzinfo=UTC)


def ends(draw: Callable[[np.random.Generator], Any], *, paired: bool = False) -> list[str]:
    rng = np.random.default_rng(30)
    return [trials.judged(*draw(rng), paired=paired)[0].value for _ in range(TRIALS)]


def mean_error(truth: Column, scores: Column) -> float:
    return float(np.mean(np.abs(truth - scores)))


def sample(errors: NDArray[np.float64], blocks: NDArray[np.int64], *clusters: NDArray[np.int64]) -> Sample:
    return Sample(np.zeros(len(errors)), errors, blocks, mean_error, clusters)


@pytest.mark.parametrize(("autocorrelation", "noise"), [(0, 0.04), (0.7, 0.04), (0.9, 0.04), (0.9, 0.28)])
def test_days_that_are_like_their_neighbours_decide_no_more_often_than_others(
    autocorrelation: float, noise: float
) -> None:
    """Counted one by one, they would decide three trials of ten at 0.7, and five at 0.9, of versions that are equal.

    So they would where a day is known no better than days differ, and their own autocorrelation hides in the noise.
    """
    found = ends(trials.shadow(autocorrelation, 0.02, noise=noise), paired=True)

    assert sum(end in ("promote", "stop") for end in found) <= 0.1 * TRIALS


def test_whoever_looks_every_day_is_not_fooled_and_would_be_by_an_ordinary_interval() -> None:
    rng = np.random.default_rng(11)
    fooled = 0
    for _ in range(TRIALS):
        arms = trials.canary(0.5, 1000)(rng)
        fooled += any(
            abs(left_out[0]) > 1.96 * np.sqrt(spread.jackknife(left_out))
            for day in range(spread.LEAST_STRETCHES, trials.DAYS + 1)
            for first, second in [[trials.left_out(trials.until(arm, day), axis=1) for arm in arms]]
            for left_out in [second - first]
        )

    found = ends(trials.canary(0.5, 1000))

    assert fooled > 0.05 * TRIALS
    assert sum(end in ("promote", "stop") for end in found) <= 0.05 * TRIALS


def test_what_matters_is_found_in_the_first_weeks_where_days_are_independent() -> None:
    rng = np.random.default_rng(31)
    found = [trials.judged(*trials.shadow(better=0.01)(rng), paired=True) for _ in range(TRIALS)]

    assert sum(end is Decision.PROMOTE and day <= 21 for end, day in found) >= 0.95 * TRIALS


@pytest.mark.parametrize("of_yes", [0.1, 0.2])
def test_labels_that_lack_by_outcome_on_one_side_promote_nobody(of_yes: float) -> None:
    assert ends(trials.unlabelled(0.5, of_yes)).count("promote") <= 0.05 * TRIALS


def test_users_who_keep_their_version_count_as_one_each_where_the_log_shows_them() -> None:
    """By days alone, seven trials of ten were decided of versions that are equal."""
    found = ends(trials.sticky(0.5, "log"))

    assert sum(end in ("promote", "stop") for end in found) <= 0.1 * TRIALS


def test_sums_by_day_and_group_are_what_rows_are() -> None:
    """The simulation gives sums to `gain`, a trial gives rows to `difference`: it is one figure."""
    rng = np.random.default_rng(32)
    days, errors = np.arange(4000) // 200, rng.gamma(1, 1, (2, 4000))
    groups = np.random.default_rng(statistics.SEED).integers(spread.GROUPS, size=4000)
    arms = []
    for mine in errors:
        counts, sums = np.zeros((20, spread.GROUPS), dtype=np.int64), np.zeros((20, spread.GROUPS))
        np.add.at(counts, (days, groups), 1)
        np.add.at(sums, (days, groups), mine)
        arms.append(trials.Arm(counts, sums, counts.sum(axis=1)))

    by_rows = difference(sample(errors[0], days), sample(errors[1], days))
    by_sums = trials.seen(arms, paired=False)

    assert by_rows is not None
    assert by_sums is not None
    assert (-by_sums.value, by_sums.error) == pytest.approx((by_rows.value, by_rows.error))


def test_fewer_than_two_weeks_of_days_decide_nothing() -> None:
    errors = np.random.default_rng(33).normal(5, 1, 14_000)

    def found(days: int) -> Estimate | None:
        rows, blocks = days * 1000, np.arange(days * 1000) // 1000
        return difference(sample(errors[:rows] + 1, blocks), sample(errors[:rows], blocks), paired=True)

    assert found(13) is None
    verdict = statistics.settle(found(13), 13_000, RULE)
    assert verdict.decision is Decision.WAIT
    assert verdict.reason.endswith("they must come from at least 14 stretches of 24 hours")
    assert found(14) is not None


def test_stretches_that_count_as_too_few_decide_nothing_however_far_the_gain_is() -> None:
    alike = Estimate(0.5, 0.01, stretches=40, effective=2.2, autocorrelation=0.9)

    verdict = statistics.settle(alike, 5000, RULE)

    assert verdict.decision is Decision.WAIT
    assert "count as 2.2 independent parts, at least 3 are needed" in verdict.reason


def over_time(series: NDArray[np.float64], noise: float) -> spread.TimeSpread:
    """Of the mean of a series with a known variance of the noise of each stretch."""
    many = len(series)
    left_out = (series.sum() - np.append(0, series)) / (many - np.append(0, np.ones(many)))
    return spread.over_time(left_out, noise / many)


@pytest.mark.parametrize(("autocorrelation", "noise"), [(0, 0.01), (0, 1), (0.6, 0.01), (0.9, 0.01), (0.9, 1)])
def test_the_variance_over_time_is_that_of_the_mean_in_the_long_run(autocorrelation: float, noise: float) -> None:
    """With what favours one version hidden in as much noise of rows, too; too much is no harm, too little is."""
    rng = np.random.default_rng(34)
    many, steps = 150, rng.normal(0, np.sqrt(1 - autocorrelation**2), (40, 250))
    common = trials.lfilter([1], [1, -autocorrelation], steps)[:, -many:]
    series = common + rng.normal(0, np.sqrt(noise), common.shape)

    found = [over_time(one, noise) for one in series]

    long_run = ((1 + autocorrelation) / (1 - autocorrelation) + noise) / many
    assert 0.9 * long_run <= np.median([one.variance for one in found]) <= 2.2 * long_run
    counted_as = np.median([one.effective for one in found])
    assert 0.5 <= counted_as / ((1 + noise) / long_run) <= 1.3


def test_a_short_series_says_less_of_what_its_noise_hides_than_a_long_one() -> None:
    rng = np.random.default_rng(39)
    series = rng.normal(0, 1, (40, 150))

    short, long = ([over_time(one[:many], 1).variance * many for one in series] for many in (14, 150))

    assert np.median(short) > 1.3 * np.median(long)
    assert 0.9 <= np.median(long) <= 1.6


def test_a_small_arm_that_has_not_met_the_rare_losses_is_not_taken_to_be_sure() -> None:
    rng = np.random.default_rng(35)
    large, small = rng.normal(1, 1, 10_000), rng.normal(1, 1, 1000)
    large[::500] += 60

    found = difference(sample(large, np.arange(10_000) // 500), sample(small, np.arange(1000) // 50))

    assert found is not None
    assert found.error >= 0.9 * large.std() / np.sqrt(1000)


def test_clusters_that_one_version_answered_are_what_chance_is_measured_by() -> None:
    rng = np.random.default_rng(36)
    users, days = np.tile(np.arange(20), 200), np.repeat(np.arange(20), 200)
    errors = rng.normal(5, 1, 20)[users] + rng.normal(0, 0.1, 4000)
    first, second = users < 10, users >= 10

    by_day = difference(sample(errors[first], days[first]), sample(errors[second], days[second]))
    by_user = difference(
        sample(errors[first], days[first], users[first]), sample(errors[second], days[second], users[second])
    )

    assert by_day is not None
    assert by_user is not None
    assert by_user.error > 10 * by_day.error
    assert by_user.error >= np.sqrt(2 / 10) * 0.7


class Asked(Row):
    user: int
    shop: str
    amount: float


class Happened(Row):
    paid: bool


CONTRACT = Contract(row=Asked, outcome=Happened, key=("user",))


def logs(arms: NDArray[np.bool_], rows_a_request: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Requests of 40 users in 3 shops, of which some were answered by the challenger."""
    rng = np.random.default_rng(37)
    count = len(arms)
    log = pl.DataFrame({
        "id": [f"{number // rows_a_request}-{number % rows_a_request}" for number in range(count)],
        "at": [BEGUN + timedelta(minutes=number // rows_a_request) for number in range(count)],
        "user": rng.integers(0, 40, count),
        "shop": [f"shop-{number % 3}" for number in range(count)],
        "amount": rng.normal(0, 1, count),
    })  # fmt: skip
    return log.filter(~arms), log.filter(arms)


def test_a_column_by_which_requests_are_divided_is_found_and_others_are_not() -> None:
    users = np.random.default_rng(37).integers(0, 40, 2000)
    by_chance = np.random.default_rng(40).random(2000) < 0.3

    assert list(routing.always_the_same(*logs(users % 3 == 0), CONTRACT)) == ["user"]
    assert not routing.always_the_same(*logs(by_chance), CONTRACT)


def test_rows_that_came_in_one_request_are_no_sign_of_a_division() -> None:
    together = np.repeat(np.random.default_rng(38).random(40) < 0.5, 50)

    assert not routing.always_the_same(*logs(together, rows_a_request=50), CONTRACT)


def test_labels_are_compared_over_the_predictions_that_should_have_one() -> None:
    def log(labelled: float, due: float) -> pl.DataFrame:
        rng = np.random.default_rng(39)
        return pl.DataFrame({
            "at": [BEGUN + timedelta(hours=number) for number in range(2000)],
            TRUTH: [1.0 if one < labelled else None for one in rng.random(2000)],
            IS_DUE: [number < due * 2000 for number in range(2000)],
        })  # fmt: skip

    def said(first: pl.DataFrame, second: pl.DataFrame) -> str:
        return samples.unlike_labels(first, second, samples.by_time(first, 24))

    assert said(log(1, 1), log(1, 1)) == said(log(0.95, 1), log(0.95, 0.6)) == ""
    assert said(log(1, 1), log(0.97, 1)).startswith("100.0% of the champion's predictions have their label and 96.4%")
    assert said(log(1, 0), log(1, 0)) == ""
