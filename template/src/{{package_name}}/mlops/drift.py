"""How far a column has moved, and whether chance explains it: arithmetic on counts, nothing else.

A column becomes a histogram over bins that only the reference decides. The effect size is the
population stability index (PSI) of two such histograms,

    PSI = sum over bins of (b - a) * ln(b / a),    a, b: shares of rows before and now,

which has no unit, is zero for equal shapes and is usually read as 0.1: worth a look, 0.25: act.
With nothing changed it still is not zero: for n and m rows in B bins it follows
(1/n + 1/m) times a chi-square distribution with B - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
Validation 14(4), 2020). So each PSI has a p-value, and those of all columns together are
corrected after S. Holm ("A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6(2), 1979), which holds for dependent columns as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from .project import MonitorPolicy

Counts = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

DECILES = np.linspace(0, 1, 11)
QUANTILES = np.array([0.005, 0.25, 0.5, 0.75, 0.995])
MOST_STEPS = 12

#: Bins with a smaller share of the reference are counted together: a handful of rows makes
#: a share that jumps, and the chi-square distribution above no longer describes it.
RARE = 0.01


class Verdict(Enum):
    """What an operator does about a finding. Verdicts sort from the worst to the best."""

    ACT = "act"
    WATCH = "watch"
    INSUFFICIENT_DATA = "insufficient data"
    OK = "ok"

    def __lt__(self, other: Verdict) -> bool:
        """Say whether this verdict is the worse one."""
        order = list(Verdict)
        return order.index(self) < order.index(other)


@dataclass(frozen=True)
class Numbers:
    """A column of numbers in ascending order, and how many more are missing.

    Sorting once is what makes it cheap: counts and quantiles are look-ups from then on.
    """

    known: Floats
    missing: int

    @classmethod
    def of(cls, values: Floats) -> Numbers:
        """Sort values; NaN is a missing one."""
        ordered = np.sort(values)  # NaN comes last
        known = int(np.searchsorted(ordered, np.nan))
        return cls(ordered[:known], len(ordered) - known)

    def quantiles(self, shares: Floats) -> Floats:
        """Return the smallest values that these shares of the column do not exceed; NaN when there is none."""
        if not self.known.size:
            return np.full(len(shares), np.nan)
        places = np.ceil(shares * len(self.known)).astype(np.int64) - 1
        found: Floats = self.known[np.maximum(places, 0)]
        return found


def decile_edges(reference: Numbers) -> Floats:
    """Return the edges between bins that each hold about a tenth of the reference.

    A value that alone fills a tenth or more, such as the zero of a rain gauge, gets a bin of
    its own: between its own edge and that of the next number a computer knows.
    """
    if not reference.known.size:
        return np.empty(0)
    values, times = np.unique(reference.quantiles(DECILES), return_counts=True)
    heavy = values[times > 1]
    return np.unique(np.concatenate([values[1:-1], heavy, np.nextafter(heavy, np.inf)]))


def round_scale(before: Floats, now: Floats) -> Floats:
    """Return about a dozen evenly spaced round numbers that span two sets of quantiles: bins for the eye."""
    ends = np.concatenate([before, now])
    if np.isnan(ends).all():
        return np.array([0.0, 1.0])
    low, high = np.nanmin(ends), np.nanmax(ends)
    rough = (high - low) / MOST_STEPS or 1.0
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(nice for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough)
    first, last = np.floor(low / step), np.floor(high / step) + 1
    scale: Floats = np.round(np.arange(first, last + 1) * step, 12)
    return scale


def count(column: Numbers, edges: Floats) -> Counts:
    """Count the values between edges; the last bin holds the missing ones.

    A bin begins at its lower edge and ends just below its upper one; the first and the last
    are open.

    >>> count(Numbers.of(np.array([1.0, 2.0, 2.5, np.nan])), np.array([2.0])).tolist()
    [1, 2, 1]
    """
    below = np.searchsorted(column.known, edges)
    between = np.diff(below, prepend=0, append=len(column.known))
    return np.append(between, column.missing)


def pool_rare(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """Count the bins together that hold less than `RARE` of the reference, and drop what stays empty.

    What the reference has never seen is in the pooled bin too.
    """
    rare = reference < RARE * reference.sum()
    before = np.append(reference[~rare], reference[rare].sum())
    now = np.append(current[~rare], current[rare].sum())
    filled = before + now > 0
    return before[filled], now[filled]


def psi(reference: Counts, current: Counts) -> float:
    """Return the population stability index between two histograms over the same bins.

    Zero means the same shape; what is too much is the policy's business, not this function's.
    Half a row is added to every bin, so that one unseen category moves the index a little
    instead of making it infinite, and so that small bins do not raise false alarms.

    >>> round(psi(np.array([50, 50]), np.array([80, 20])), 2)
    0.41
    """
    before, now = _shares(reference), _shares(current)
    return float(np.sum((now - before) * np.log(now / before)))


def p_value(size: float, reference: Counts, current: Counts) -> float:
    """Return the chance of a PSI of this size or more when nothing has changed."""
    bins = len(reference)
    if bins < 2:
        return 1.0
    scale = 1 / reference.sum() + 1 / current.sum()
    return float(chdtrc(bins - 1, size / scale))


def correct(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given.

    Calling those below `p` a change raises any false alarm at all with a chance of at most `p`.

    >>> correct([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    factors = np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1)
    result: list[float] = adjusted.tolist()
    return result


def decide(*, size: float, chance: float, rows: int, limits: MonitorPolicy) -> Verdict:
    """Turn a PSI of this size, its corrected p-value and the rows behind it into what to do about it."""
    # Too few rows comes first: a large change on forty rows is noise, and noise must page nobody.
    if rows < limits.min_rows:
        return Verdict.INSUFFICIENT_DATA
    if chance >= limits.p_value or size < limits.watch:
        return Verdict.OK
    return Verdict.ACT if size >= limits.act else Verdict.WATCH


def _shares(counts: Counts) -> Floats:
    filled = counts + 0.5
    shares: Floats = filled / filled.sum()
    return shares
