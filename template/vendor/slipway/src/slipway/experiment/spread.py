"""How far chance may have carried a difference: the standard error behind a trial's verdict.

Rows of one day are alike, and a day may be like the day before it. The difference of two versions is therefore left
out one stretch of time at a time (the jackknife of H. R. Künsch, Annals of Statistics 17(3), 1989), and what the
stretches vary by is held against what rows alone, drawn into groups at random, would let them vary by (the random
groups of K. M. Wolter, "Introduction to Variance Estimation", 2007). Where the stretches vary no more than that, both
are estimates of one variance and are pooled after a test, at the level of H. Bozivich, T. A. Bancroft and H. O. Hartley
(Annals of Mathematical Statistics 27(4), 1956). Where they do vary more, the part that is left is a series of the first
order, with an autocorrelation r, noise of the rows on top of it, and the mean varies by

    rows + (stretches - rows) * (1 + r) / (1 - r)

which is the long-run variance of D. W. K. Andrews and J. C. Monahan (Econometrica 60(4), 1992) for such a series. The
estimate of r is too low in short series and is corrected (M. G. Kendall, Biometrika 41, 1954); it counts where it is
beyond chance, and its upper end does while the stretches may be worth too few. In words: n stretches
count as fewer (G. V. Bayley and J. M. Hammersley, Supplement to the Journal of the Royal Statistical Society 8(2),
1946).
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, ndtri, stdtrit

#: Into so many groups rows are drawn.
GROUPS = 100
#: Fewer stretches of time say too little of how much they differ: of days, two weeks.
LEAST_STRETCHES = 14
#: So many independent stretches they have to count as.
LEAST_EFFECTIVE = 4
#: While they may count as fewer, the upper end of the autocorrelation counts and not the estimate.
ENOUGH_EFFECTIVE = 8
#: Of the upper end, and of an autocorrelation that is beyond chance; one-sided.
_BEYOND = float(ndtri(0.9))
#: No series that ends is known to be closer to a random walk.
_MOST_ALIKE = 0.98
#: Below the first chance, stretches vary more than rows; above the second, both are one variance.
_MORE, _ALIKE = 0.05, 0.25
_TAIL = 0.995

#: A figure of all rows, then of all but one part of them, for each part.
LeftOut = NDArray[np.float64]


class Clusters(NamedTuple):
    """The difference without one cluster of rows at a time, and how many clusters the arm with fewer of them has."""

    left_out: LeftOut
    fewest: int


class TimeSpread(NamedTuple):
    """The variance of a difference over time, its degrees of freedom, and what it rests on."""

    variance: float
    freedom: float
    effective: float
    autocorrelation: float


def jackknife(left_out: LeftOut) -> float:
    """The variance of a figure."""
    without = left_out[1:]
    return (len(without) - 1) / len(without) * float(np.sum((without - without.mean()) ** 2))


def widened(variance: float, freedom: float) -> float:
    """The standard error; from few degrees of freedom, by Student's distribution in place of the normal one."""
    return sqrt(variance) * float(stdtrit(freedom, _TAIL) / ndtri(_TAIL))


def over_time(left_out: LeftOut, rows: float) -> TimeSpread:
    """The variance of a difference, from stretches in their order and from `rows`, its variance by rows alone."""
    stretches, total = len(left_out) - 1, jackknife(left_out)
    if total == 0:
        return TimeSpread(rows, stretches - 1, stretches, 0.0)
    chance = float(fdtrc(stretches - 1, GROUPS - 1, total / rows)) if rows else 0.0
    if chance > _ALIKE:
        freedom = stretches + GROUPS - 2
        return TimeSpread(((stretches - 1) * total + (GROUPS - 1) * rows) / freedom, freedom, stretches, 0.0)
    if chance > _MORE:
        return TimeSpread(total, stretches - 1, stretches, 0.0)
    off = left_out[1:] - left_out[1:].mean()
    share = (total - rows) / total
    alike = (float(off[1:] @ off[:-1] / (off @ off)) / share * stretches + 1) / (stretches - 3)
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    by_chance = _BEYOND / sqrt(stretches) / share
    upper = min(alike + by_chance * sqrt(1 - alike**2), _MOST_ALIKE)

    def in_the_long_run(autocorrelation: float) -> float:
        return rows + (total - rows) * (1 + autocorrelation) / (1 - autocorrelation)

    if stretches * total < ENOUGH_EFFECTIVE * in_the_long_run(upper):
        alike = upper
    elif alike < by_chance:
        alike = 0.0
    variance = in_the_long_run(alike)
    effective = stretches * total / variance
    return TimeSpread(variance, max(1.0, effective - 1), effective, alike)
