"""Which of two versions is better, and when that is settled: the statistics behind a verdict.

The difference of the metric comes with a standard error from a jackknife that leaves out one block of
rows at a time, of both versions (H. R. Künsch, "The jackknife and the bootstrap for general stationary
observations", Annals of Statistics 17(3), 1989). A block is a stretch of time, because rows of one day are
alike: counted one by one, they would pretend to a precision that is not there; `spread.py` has what follows where
days are like their neighbours, too. It works for any metric that is a smooth function of the rows: means, rates, AUC.

Of losses with a heavy tail, a small arm has often not yet met the rare large ones: its mean and its variance are both
too low. Rows of a canary are therefore taken to spread as widely in both arms as in that where they spread more, which
is what an equal version would do, and what a score test assumes (C. R. Rao, Proceedings of the Cambridge Philosophical
Society 44, 1948).

Somebody who looks every day and stops at the first good day would promote far too often with an ordinary
test. The interval used here holds at all looks together (H. Robbins, "Statistical methods related to the law
of the iterated logarithm", Annals of Mathematical Statistics 41(5), 1970; R. Johari and others, "Always valid
inference", Operations Research 70(3), 2022). For an estimate d with standard error e it is

    d ± e * sqrt((1 + e² / g²) * (2 ln(1 / alpha) + ln(1 + g² / e²)))

where g, the spread of the effects it is most sensitive to, is the smallest gain that matters. As e is
estimated, alpha is kept for large samples (I. Waudby-Smith and others, "Time-uniform central limit theory
and asymptotic confidence sequences", Annals of Statistics 52(6), 2024): that is what `min_rows` is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import ceil, inf, log, sqrt
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtr

from slipway.contract.columns import Column
from slipway.experiment.spread import (
    GROUPS,
    LEAST_EFFECTIVE,
    LEAST_STRETCHES,
    Clusters,
    LeftOut,
    jackknife,
    over_time,
    widened,
)
from slipway.settings.policy import ExperimentPolicy

#: Truth and scores of some rows to a metric; `None` where the rows do not decide it.
MetricFunction = Callable[[Column, Column], float | None]

#: Rows of each block.
Counts = NDArray[np.int64]

#: Each block costs two evaluations of the metric, and more of them add next to nothing.
MOST_BLOCKS = 200
#: Fewer blocks say too little of how much they differ, even for a figure that decides no trial.
LEAST_BLOCKS = 5
#: From this chance on shares of labels may be alike. It is not small: to refuse costs a later look and no verdict.
UNLIKE = 0.05
#: Of the draw of rows into groups: a row that is logged later changes no group.
SEED = 20


class Decision(Enum):
    """What becomes of a challenger."""

    PROMOTE = "promote"
    KEEP = "keep"
    WAIT = "wait"
    STOP = "stop"


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, why, and for `wait` the labelled rows of the challenger that are still missing, if that is known."""

    decision: Decision
    reason: str
    more_rows: int | None = None


@dataclass(frozen=True)
class Sample:
    """Labelled rows of one version, oldest first: what happened, its scores, and how to measure them.

    `blocks` has the stretch of time of each row, `clusters` other parts of the rows, for each way to part them: what is
    of one cluster was all answered by one version.
    """

    truth: Column
    scores: Column
    blocks: NDArray[Any]
    measure: MetricFunction
    clusters: tuple[NDArray[Any], ...] = ()

    def __len__(self) -> int:
        return len(self.truth)


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its standard error.

    `effective` is as how many independent stretches of time the `stretches` count, `autocorrelation` how much one is
    like the next; both only where that was looked at.
    """

    value: float
    error: float
    stretches: int = 0
    effective: float = inf
    autocorrelation: float = 0.0

    def interval(self, radius: float) -> tuple[float, float]:
        """The figure, give or take."""
        return self.value - radius, self.value + radius

    def for_one_look(self, alpha: float) -> tuple[float, float]:
        """The ordinary normal interval, for a reader who looks once."""
        return self.interval(-float(ndtri(alpha / 2)) * self.error)


def estimate(sample: Sample) -> Estimate | None:
    """MetricFunction a sample, with the jackknife's standard error; `None` where the rows do not decide it."""
    blocks = np.unique(sample.blocks)
    left_out = _left_out(sample, sample.blocks, blocks)
    if len(blocks) < LEAST_BLOCKS or np.isnan(left_out).any():
        return None
    return Estimate(float(left_out[0]), widened(jackknife(left_out), len(blocks) - 1))


def difference(champion: Sample, challenger: Sample, *, paired: bool = False) -> Estimate | None:
    """Return how much higher the challenger's metric is; `None` where the rows do not decide it.

    A block is left out of both samples at once, so what it does to both alike falls out of the error. `paired` samples
    are answers to the same requests in the same order.
    """
    arms = champion, challenger
    blocks = np.union1d(champion.blocks, challenger.blocks)
    if len(blocks) < LEAST_STRETCHES or not all(map(len, arms)):
        return None
    stretches = _left_out(challenger, challenger.blocks, blocks) - _left_out(champion, champion.blocks, blocks)
    clusters = [_clusters(arms, *parts) for parts in zip(champion.clusters, challenger.clusters, strict=True)]
    groups = _by_group(champion), _by_group(challenger)
    return gain(stretches, groups, (len(champion), len(challenger)), paired=paired, clusters=clusters)


def gain(
    left_out: LeftOut,
    by_group: tuple[LeftOut, LeftOut],
    rows: tuple[int, int],
    *,
    paired: bool,
    clusters: Sequence[Clusters] = (),
) -> Estimate | None:
    """How much higher the second arm's metric is than the first's; `None` where the rows do not decide it.

    `left_out` is that difference without one stretch of time at a time, in their order, `by_group` each arm's metric
    without one random group of its `rows` at a time. Where the arms are `paired`, they have the same rows in the same
    groups. Rows of a cluster were all answered by one arm: these vary by cluster, and by time beyond what rows do.
    """
    decided = [left_out, *by_group, *(one.left_out for one in clusters)]
    if len(left_out) <= LEAST_STRETCHES or any(np.isnan(figures).any() for figures in decided):
        return None
    of_rows = jackknife(by_group[1] - by_group[0]) if paired else sum(map(jackknife, by_group))
    variance, effective, alike = over_time(left_out, of_rows)
    freedom = inf
    if clusters:
        widest = max(clusters, key=lambda one: jackknife(one.left_out))
        variance = jackknife(widest.left_out) + max(0.0, variance - of_rows)
        freedom = max(1.0, widest.fewest - 1)
        effective = min(effective, widest.fewest)
    if not paired:
        of_one = max(jackknife(figures) * number for figures, number in zip(by_group, rows, strict=True))
        variance = max(variance, of_one * sum(1 / number for number in rows))
    return Estimate(float(left_out[0]), widened(variance, freedom), len(left_out) - 1, effective, alike)


def _clusters(arms: tuple[Sample, Sample], first: NDArray[Any], second: NDArray[Any]) -> Clusters:
    every = np.union1d(first, second)
    left_out = _left_out(arms[1], second, every) - _left_out(arms[0], first, every)
    return Clusters(left_out, min(len(np.unique(first)), len(np.unique(second))))


def _by_group(sample: Sample) -> LeftOut:
    groups = np.random.default_rng(SEED).integers(GROUPS, size=len(sample))
    return _left_out(sample, groups, np.arange(GROUPS))


def _left_out(sample: Sample, parts: NDArray[Any], named: NDArray[Any]) -> LeftOut:
    """The metric of all rows, then of all but one part for each that is named; not a number where it is not decided."""
    kept = (np.ones(len(sample), dtype=bool), *(parts != part for part in named))
    found = [sample.measure(sample.truth[rows], sample.scores[rows]) if rows.any() else None for rows in kept]
    # A metric that is None becomes "not a number".
    return np.array(found, dtype=np.float64)


def label_chance(labelled: Sequence[Counts], due: Sequence[Counts]) -> float:
    """The chance of shares of labels so far apart in two arms, counted by block, where a label lacks at random in both.

    Student's test of the difference of two ratios, with the jackknife's error.
    """
    if len(due[0]) < LEAST_STRETCHES:
        return 1.0
    shares: list[LeftOut] = []
    for known, asked in zip(labelled, due, strict=True):
        left = np.concatenate([[0], asked]), np.concatenate([[0], known])
        with np.errstate(invalid="ignore"):
            shares.append((known.sum() - left[1]) / (asked.sum() - left[0]))
    apart = shares[1] - shares[0]
    if np.isnan(apart).any():
        return 1.0
    error = sqrt(jackknife(apart))
    if error == 0:
        return 1.0 if apart[0] == 0 else 0.0
    return 2 * float(stdtr(len(apart) - 2, -abs(apart[0]) / error))


def radius(error: float, *, effect: float, alpha: float) -> float:
    """Half the width of the interval that holds at all looks together, with a chance of 1 - alpha.

    `error` is the standard error now, `effect` the size of effect to be most sensitive to, both in the
    metric's unit. The formula and its source stand above.

    >>> round(radius(0.25, effect=1, alpha=0.05), 3)
    0.766
    """
    if error == 0:
        return 0.0
    ratio = (error / effect) ** 2
    return error * sqrt((1 + ratio) * (2 * log(1 / alpha) + log(1 + 1 / ratio)))


def rows_needed(rows: int, error: float, rule: ExperimentPolicy) -> int:
    """How many rows would show the smallest gain with the power asked for, judged by `rows` with this error.

    The error shrinks with the root of the rows, so the question is which error is small enough:
    radius + (quantile of the power) * error = smallest gain.
    """

    def excess(error: float) -> float:
        return radius(error, effect=1, alpha=rule.alpha) + float(ndtri(rule.power)) * error - 1

    small_enough = float(brentq(excess, 1e-9, 1)) * rule.smallest_gain
    return ceil(rows * (error / small_enough) ** 2)


def settle(
    found: Estimate | None, rows: int, rule: ExperimentPolicy, *, days: float = 0, unfit: str = ""
) -> Conclusion:
    """Turn the challenger's gain, seen on `rows` labelled rows of each version, into a decision.

    The gain is positive where the challenger is better. `days` is the age of the experiment. `unfit` says
    why the rows must not decide, whatever they show.
    """
    low, high = found.interval(radius_of(found, rule)) if found else (-inf, inf)
    if not unfit and found and rows >= rule.min_rows and found.effective >= LEAST_EFFECTIVE:
        evidence = f"the gain in {rule.metric} is {found.value:+.4f}, between {low:+.4f} and {high:+.4f}"
        if high < 0:
            return Conclusion(decision=Decision.STOP, reason=f"the challenger does harm: {evidence}")
        if high < rule.smallest_gain:
            return Conclusion(
                decision=Decision.KEEP,
                reason=f"the challenger gains less than matters, {rule.smallest_gain:g}: {evidence}",
            )
        if low > 0:
            return Conclusion(decision=Decision.PROMOTE, reason=f"the challenger is better: {evidence}")
    if days > rule.max_days:
        return Conclusion(
            decision=Decision.KEEP, reason=f"nothing was settled in {rule.max_days:g} days, so the champion stays"
        )
    return _wait(found, rows, rule, unfit)


def _wait(found: Estimate | None, rows: int, rule: ExperimentPolicy, unfit: str) -> Conclusion:
    if unfit:
        return Conclusion(decision=Decision.WAIT, reason=unfit)
    if rows < rule.min_rows:
        reason = f"{rows:,} labelled rows of each version, at least {rule.min_rows:,} are needed"
        return Conclusion(decision=Decision.WAIT, reason=reason, more_rows=rule.min_rows - rows)
    if found is None:
        reason = (
            f"these rows do not decide {rule.metric}; they must come from at least {LEAST_STRETCHES} stretches of "
            f"{rule.block_hours:g} hours"
        )
        return Conclusion(decision=Decision.WAIT, reason=reason)
    if found.effective < LEAST_EFFECTIVE:
        reason = (
            f"these rows are so much alike that they count as {found.effective:.1f} independent parts, "
            f"at least {LEAST_EFFECTIVE} are needed"
        )
        return Conclusion(decision=Decision.WAIT, reason=reason)
    more = max(1, rows_needed(rows, found.error, rule) - rows)
    reason = f"{rows:,} labelled rows of each version do not settle it, about {more:,} more will"
    if found.stretches:
        # More rows of the same days would not: what one day has in common is not told apart by its rows.
        stretches = ceil(found.stretches * more / rows)
        reason += f", if they come from some {stretches:,} more stretches of {rule.block_hours:g} hours"
    return Conclusion(decision=Decision.WAIT, reason=reason, more_rows=more)


def radius_of(found: Estimate, rule: ExperimentPolicy) -> float:
    """Half the width of a gain's interval at all looks together."""
    return radius(found.error, effect=rule.smallest_gain, alpha=rule.alpha)
