"""How far chance may have carried a difference: the standard error behind a trial's verdict.

Rows of one day are alike, and a day may be like the days around it. The difference of two versions is therefore left
out one stretch of time at a time (the jackknife of H. R. Künsch, Annals of Statistics 17(3), 1989), and what the
stretches vary by is held against what rows alone, drawn into groups at random, would let them vary by (the random
groups of K. M. Wolter, "Introduction to Variance Estimation", 2007).

A stretch's figure is that of its rows, with their noise, and of what it has in common with its neighbours. The noise
makes neighbours look less alike than they are, so an autocorrelation of the figures is no guide: what lasts for weeks
and is no larger than the noise hides in it. Common parts of many sizes, of stretches that are independent and of
stretches that are close to their neighbours, are therefore each held against the series, and each weighs as much as it
explains it: by its likelihood without the mean (H. D. Patterson and R. Thompson, Biometrika 58(3), 1971), over the
cosine waves of the series (U. K. Müller and M. W. Watson, Econometrica 76(5), 2008), times how likely it was before
(J. O. Berger, B. Liseo and R. L. Wolpert, Statistical Science 14(1), 1999). The variance of the mean is the average of
what they say (as in U. K. Müller, "HAC corrections for strongly autocorrelated time series", Journal of Business and
Economic Statistics 32(3), 2014). So as long as a series is too short to tell noise from a common part that lasts, the
interval is wide enough for both; long waves that are missing make it narrow.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import toeplitz
from scipy.special import ndtri, stdtrit

#: Into so many groups rows are drawn.
GROUPS = 100
#: Fewer stretches of time say too little of how much they differ: of days, two weeks.
LEAST_STRETCHES = 14
#: So many independent stretches they have to count as.
LEAST_EFFECTIVE = 3
#: How much a stretch is like the next in what they have in common, from not at all to where weeks are alike, and how
#: likely that is before anything is seen. What is between is there to fit series that show it.
_ALIKE = {0.0: 5, 0.4: 1, 0.7: 1, 0.94: 4}
#: The variance of what they have in common, in that of the noise of their rows.
_LARGE = 2.0 ** np.arange(-4, 11)
#: How likely it is before anything is seen that they have nothing in common.
_NOTHING = 0.05
_TAIL = 0.995

#: A figure of all rows, then of all but one part of them, for each part.
LeftOut = NDArray[np.float64]
Floats = NDArray[np.float64]


class Clusters(NamedTuple):
    """The difference without one cluster of rows at a time, and how many clusters the arm with fewer of them has."""

    left_out: LeftOut
    fewest: int


class TimeSpread(NamedTuple):
    """The variance of a difference over time, as how many independent stretches they count, and how alike they are."""

    variance: float
    effective: float
    autocorrelation: float


class _Explanations(NamedTuple):
    """What may lie behind so many stretches, one a row, in the variance of the noise of a stretch's rows.

    `waves` are the variances of the cosine waves of the series, `mean` that of its mean, `one` that of a stretch,
    `autocorrelation` that of the series, and `before` how likely it is before anything is seen.
    """

    waves: Floats
    mean: Floats
    one: Floats
    autocorrelation: Floats
    before: Floats


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
        return TimeSpread(rows, stretches, 0.0)
    # Beyond the largest common part that is looked for, what noise there is makes no difference.
    noise = stretches * max(rows, total / _LARGE[-2])
    waves = dct((stretches - 1) * left_out[1:], norm="ortho")[1:]
    found = _explanations(stretches)
    unlikely = np.log(found.waves).sum(axis=1) + (1 / found.waves) @ (waves**2 / noise)
    weights = found.before * np.exp((unlikely.min() - unlikely) / 2)
    weights /= weights.sum()
    mean, one, alike = (float(weights @ what) for what in (found.mean, found.one, found.autocorrelation))
    return TimeSpread(noise * mean, one / mean, alike)


@lru_cache(maxsize=256)
def _explanations(stretches: int) -> _Explanations:
    waves, mean, one, alike, before = [np.ones(stretches)], [1 / stretches], [1.0], [0.0], [_NOTHING]
    for autocorrelation, likely in _ALIKE.items():
        series = toeplitz(autocorrelation ** np.arange(stretches))
        common = np.diag(dct(dct(series, norm="ortho", axis=0), norm="ortho", axis=1))
        waves += [1 + size * common for size in _LARGE]
        mean += [(1 + size * common[0]) / stretches for size in _LARGE]
        one += [1 + size for size in _LARGE]
        alike += [autocorrelation * size / (1 + size) for size in _LARGE]
        before += [(1 - _NOTHING) * likely / sum(_ALIKE.values()) / len(_LARGE) for _ in _LARGE]
    return _Explanations(np.array(waves)[:, 1:], *map(np.array, (mean, one, alike, before)))
