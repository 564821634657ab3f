"""Which of two versions is better, and when that is settled: the statistics behind a verdict.

The difference of the metric comes with a standard error from a jackknife that leaves out one block of
rows at a time, of both versions (H. R. Künsch, "The jackknife and the bootstrap for general stationary
observations", Annals of Statistics 17(3), 1989). A block is a stretch of time, because rows of one day are
alike: counted one by one, they would pretend to a precision that is not there. Or it is all rows of some routing
keys. It works for any metric that is a smooth function of the rows: means, rates, ROC AUC.

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

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import ceil, inf, log, sqrt
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from slipway.contract.columns import Column
from slipway.settings.policy import ExperimentPolicy

#: Truth and scores of some rows to a metric; `None` where the rows do not decide it.
MetricFunction = Callable[[Column, Column], float | None]

#: Each block costs two evaluations of the metric, and more of them add next to nothing.
MOST_BLOCKS = 200
#: Fewer blocks say too little of how much they differ.
LEAST_BLOCKS = 5

_TAIL = 0.995


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
    """Labelled rows of one version: what happened, its scores, the block of each row, and how to measure them."""

    truth: Column
    scores: Column
    blocks: NDArray[Any]
    measure: MetricFunction

    def __len__(self) -> int:
        return len(self.truth)


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its standard error."""

    value: float
    error: float

    def interval(self, radius: float) -> tuple[float, float]:
        """The figure, give or take."""
        return self.value - radius, self.value + radius

    def for_one_look(self, alpha: float) -> tuple[float, float]:
        """The ordinary normal interval, for a reader who looks once."""
        return self.interval(-float(ndtri(alpha / 2)) * self.error)


def estimate(sample: Sample) -> Estimate | None:
    """MetricFunction a sample, with the jackknife's standard error; `None` where the rows do not decide it."""
    return _estimate(_left_out(sample, np.unique(sample.blocks)))


def difference(champion: Sample, challenger: Sample) -> Estimate | None:
    """Return how much higher the challenger's metric is; `None` where the rows do not decide it.

    A block is left out of both samples at once, so what it does to both alike falls out of the error.
    """
    blocks = np.union1d(champion.blocks, challenger.blocks)
    return _estimate(_left_out(challenger, blocks) - _left_out(champion, blocks))


def _left_out(sample: Sample, blocks: NDArray[Any]) -> NDArray[np.float64]:
    """The metric of all rows, then of all but one block for each block; not a number where it is not decided."""
    if len(blocks) < LEAST_BLOCKS or not len(sample):
        return np.array([np.nan])
    kept = [np.ones(len(sample), dtype=bool), *(sample.blocks != block for block in blocks)]
    # A metric that is None becomes "not a number".
    return np.array([sample.measure(sample.truth[rows], sample.scores[rows]) for rows in kept], dtype=np.float64)


def _estimate(values: NDArray[np.float64]) -> Estimate | None:
    if np.isnan(values).any():
        return None
    without = values[1:]
    variance = (len(without) - 1) / len(without) * float(np.sum((without - without.mean()) ** 2))
    # From few blocks the error itself is known badly: Student's distribution instead of the normal one.
    widened = float(stdtrit(len(without) - 1, _TAIL) / ndtri(_TAIL))
    return Estimate(float(values[0]), sqrt(variance) * widened)


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
    if not unfit and found and rows >= rule.min_rows:
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
            f"these rows do not decide {rule.metric}; they must come from at least {LEAST_BLOCKS} stretches of time"
        )
        return Conclusion(decision=Decision.WAIT, reason=reason)
    more = max(1, rows_needed(rows, found.error, rule) - rows)
    reason = f"{rows:,} labelled rows of each version do not settle it, about {more:,} more will"
    return Conclusion(decision=Decision.WAIT, reason=reason, more_rows=more)


def radius_of(found: Estimate, rule: ExperimentPolicy) -> float:
    """Half the width of a gain's interval at all looks together."""
    return radius(found.error, effect=rule.smallest_gain, alpha=rule.alpha)
