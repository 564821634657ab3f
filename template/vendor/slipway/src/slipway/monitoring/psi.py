"""The population stability index: the drift test that runs where the policy names no other.

It is the effect size of the two histograms of a column,

    PSI = sum over bins of (b - a) * ln(b / a),    a, b: shares of rows before and now,

which has no unit, is zero for equal shapes and is usually read as 0.1: worth a look, 0.25: act.
With nothing changed it still is not zero: for n and m rows in B bins it follows
(1/n + 1/m) times a chi-square distribution with B - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
Validation 14(4), 2020). So each PSI has a p-value.

That takes every row for a draw of its own. Rows of one day are often alike, as all flights of a
stormy one, and a month is then worth thirty draws and not thousands. Where rows have a time, chance
is measured instead: as many days as now are drawn from those of the reference, and as many rows
from them (a bootstrap of clusters: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their
Application", 1997, 3.8), and a gamma distribution gets the mean and variance of their PSI.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from slipway.monitoring.bins import SEED, BinCounts, Days, Floats, Ints

#: Bins with a smaller share of the reference are measured together: a handful of rows makes
#: a share that jumps, and the chi-square distribution above no longer describes it.
RARE = 0.01

#: Where chance lets none of the new values be this frequent, in one column of a thousand.
NEVER_BY_CHANCE = 0.001


def measure(counted: BinCounts, days: Days | None = None) -> tuple[float, float]:
    """Return the PSI of a column, and the chance of this much or more when nothing has changed.

    What the reference has hardly seen is one bin together, and what it has never seen is another. How much of that is
    nothing new tell the values it holds once: each would be unseen without its own row (I. J. Good, "The population
    frequencies of species and the estimation of population parameters", Biometrika 40(3-4), 1953). A value that it has
    never seen and that now is too frequent for that is a bin of its own.
    """
    rows_before, rows_now = counted.before.sum(), counted.now.sum()
    if not (rows_before and rows_now):
        return 0.0, 1.0
    once, never = counted.before == 1, counted.before == 0
    chance = (rows_now / (rows_before + rows_now)) ** counted.now.astype(np.float64)  # that none of them came before
    rare = (counted.before < RARE * rows_before) & ~(never & (chance * len(chance) < NEVER_BY_CHANCE))
    before, now = _merged(counted.before, rare, once), _merged(counted.now, rare, never)
    filled = before + now > 0
    size = float(psi(before[filled], now[filled]))
    if filled.sum() == 1:
        return size, 1.0  # a single bin leaves nothing that could move
    freedom = int(filled.sum()) - 1
    mean = freedom * (1 / rows_before + 1 / rows_now)
    variance = 2 * mean**2 / freedom
    if days and counted.by_day is not None:
        sizes = _drawn_sizes(days, _merged(counted.by_day, rare, once)[:, filled], int(rows_now))
        mean, variance = max(mean, sizes.mean()), max(variance, sizes.var())
    # A gamma distribution of this mean and variance; without days it is the chi-square distribution above.
    return size, float(gammaincc(mean**2 / variance, size * mean / variance))


def psi(reference: Ints, current: Ints) -> Floats:
    """Return the population stability index between two histograms over the same bins, or of several with one.

    Zero means the same shape; what is too much is the policy's business, not this function's.
    Half a row is added to every bin, so that one unseen category moves the index a little
    instead of making it infinite, and so that small bins do not raise false alarms.

    >>> psi(np.array([50, 50]), np.array([[50, 50], [80, 20]])).round(2).tolist()
    [0.0, 0.41]
    """
    before, now = ((counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True) for counts in (reference, current))
    sizes: Floats = np.sum((now - before) * np.log(now / before), axis=-1)
    return sizes


def _drawn_sizes(days: Days, by_day: Ints, rows: int) -> Floats:
    """The PSI of each draw of days, of so many rows, against all days."""
    reference = by_day.sum(axis=0)
    counts = days.drawn @ by_day
    shares = counts / counts.sum(axis=1, keepdims=True)
    drawn = np.random.default_rng(SEED).multinomial(rows, shares)
    # The days of now are other ones than those of the reference, while a draw holds days of the reference.
    sizes: Floats = psi(reference, drawn) * (1 + days.drawn[0].sum() / len(by_day))
    return sizes


def _merged(counts: Ints, rare: NDArray[np.bool_], new: NDArray[np.bool_]) -> Ints:
    """Put the rare bins together, as the last two: those that are not `new`, and those that are."""
    known, new = (counts[..., rare & kind].sum(axis=-1, keepdims=True) for kind in (~new, new))
    return np.concatenate([counts[..., ~rare], known, new], axis=-1)
