"""The population stability index: the drift test that runs where the policy names no other.

It is the effect size of the two histograms of a column,

    PSI = sum over bins of (b - a) * ln(b / a),    a, b: shares of rows before and now,

which has no unit, is zero for equal shapes and is usually read as 0.1: worth a look, 0.25: act.
With nothing changed it still is not zero: for n and m rows in B bins it follows
(1/n + 1/m) times a chi-square distribution with B - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
Validation 14(4), 2020). So each PSI has a p-value.

That takes every row for a draw of its own. Rows of one day are often alike, as all flights of a
stormy one, and so are days that follow each other. Where rows have a time, chance is measured by the
days of the reference instead (see `days`): runs of them, as many days as now, give a mean and a variance
of the PSI by days, which come on top of those above. A gamma distribution gets both (F. E. Satterthwaite,
"An approximate distribution of estimates of variance components", Biometrics 2(6), 1946); an F
distribution, as what the days add is itself only measured, on so many stretches of days that do not
resemble each other (D. R. Thomas and J. N. K. Rao, "Small-sample comparisons of level and power for
simple goodness-of-fit statistics under cluster sampling", JASA 82, 1987).
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, gammaincc

from slipway.monitoring.bins import BinCounts
from slipway.monitoring.days import DRAWS, SEED, USUAL, Days, Floats, Ints, resemblance

#: Bins with a smaller share of the reference are measured together: a handful of rows makes
#: a share that jumps, and the chi-square distribution above no longer describes it.
RARE = 0.01

#: Where chance lets none of the new values be this frequent, in one column of a thousand.
NEVER_BY_CHANCE = 0.001


class Measured(NamedTuple):
    """The PSI of a column, and the chance of this much or more when nothing has changed.

    Days of the reference were drawn in runs of so many, as days resemble their neighbours; 1 where there are none.
    `least` is the chance of the largest change there is: where it is not small, no change can be told from chance.
    """

    size: float
    p_value: float
    run: int = 1
    least: float = 0.0


def measure(counted: BinCounts, days: Days | None = None) -> Measured:
    """Measure how far a column has moved.

    What the reference has hardly seen is one bin together, and what it has never seen is another. How much of that is
    nothing new tell the values it holds once: each would be unseen without its own row (I. J. Good, "The population
    frequencies of species and the estimation of population parameters", Biometrika 40(3-4), 1953). A value that it has
    never seen and that now is too frequent for that is a bin of its own.
    """
    rows_before, rows_now = counted.before.sum(), counted.now.sum()
    if not (rows_before and rows_now):
        return Measured(0.0, 1.0)
    bins_before, bins_now, bins = _merged(counted)
    before, now = (
        np.bincount(to, side, bins).astype(np.int64)
        for to, side in ((bins_before, counted.before), (bins_now, counted.now))
    )
    filled = before + now > 0
    size, freedom = float(psi(before[filled], now[filled])), int(filled.sum()) - 1
    if not freedom:
        return Measured(size, 1.0)  # a single bin leaves nothing that could move
    mean = freedom * (1 / rows_before + 1 / rows_now)
    if days is None:
        return Measured(size, float(gammaincc(freedom / 2, freedom / 2 * size / mean)))
    by_day = days.table(bins_before[counted.places], bins)[:, filled]
    return _by_days(size, mean, freedom, days, by_day, int(rows_now))


def _by_days(size: float, mean: float, freedom: int, days: Days, by_day: Ints, rows: int) -> Measured:
    """Add what days make of chance to the `mean` that rows of their own give, with so many degrees of freedom."""
    run, between = resemblance(by_day, days.worth)
    drawn, spread = _by_drawing(days, by_day, run, rows)
    more = max(drawn, between) * days.wider(run)
    # Days are taken to differ in one way at least, in which rows differ as well.
    variance = 2 * mean**2 / freedom + max(spread * days.wider(run) ** 2, 2 * more**2 + 4 * more * mean / freedom)
    chances = [(mean + more, 2 * (mean + more) ** 2 / variance, 0.0)]
    # What is far out, days of one way alone explain: of many bins the sum above would make it too rare.
    chances += [(more + mean / freedom, 1.0, mean - mean / freedom)] if more else []
    stretches = max(1.0, days.many / max(run, min(days.worth, USUAL)) - 1)
    # All rows in the bin that had the fewest.
    reference = by_day.sum(axis=0)
    largest = float(psi(reference, rows * (np.arange(len(reference)) == reference.argmin())))
    p_value, least = (
        max(
            _beyond(max(0.0, one - other) / scale, shape, shape * stretches * (scale / more) ** 2 if more else np.inf)
            for scale, shape, other in chances
        )
        for one in (size, largest)
    )
    return Measured(size, p_value, run, least if days.tell(run) else 1.0)


def _beyond(ratio: float, freedom: float, known: float) -> float:
    """The chance that an F distribution exceeds a ratio, or a gamma distribution where its denominator is known."""
    if np.isinf(known):
        return float(gammaincc(freedom / 2, freedom / 2 * ratio))
    return float(fdtrc(freedom, known, ratio))


def _by_drawing(days: Days, by_day: Ints, run: int, rows: int) -> tuple[float, float]:
    """How much the PSI of days that were drawn exceeds, in mean and variance, that of as many rows of no day.

    A day of the reference may have few rows, and those who draw it draw their noise as well. So the same is done with
    rows drawn from all days: what comes of that is noise alone.
    """
    chance, reference = np.random.default_rng(SEED), by_day.sum(axis=0)
    drawn = days.draws(by_day, run)
    of_no_day = chance.multinomial(drawn.sum(axis=1), reference / reference.sum())
    sizes, noise = (
        psi(reference, chance.multinomial(rows, counts / counts.sum(axis=1, keepdims=True)))
        for counts in (drawn, of_no_day)
    )
    more = max(0.0, float(sizes.mean() - noise.mean() - 2 * noise.std() / sqrt(DRAWS)))
    # A variance is known less well than a mean, so what may be noise of it is taken out as well.
    unknown = 1 + 4 / sqrt(days.many / max(run, days.worth))
    return more, float(sizes.var() - noise.var() * unknown)


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


def _merged(counted: BinCounts) -> tuple[Ints, Ints, int]:
    """The bin that each one is measured in, for the rows of the reference and for those of now, and how many there are.

    The last two are of rare values: those that are known, and those that are new. Where most rows have a value of
    their own, such as an identifier, new is what is usual, and both are one.
    """
    before, now = counted.before, counted.now
    rows_before, rows_now = before.sum(), now.sum()
    once, never = before == 1, before == 0
    chance = (rows_now / (rows_before + rows_now)) ** now.astype(np.float64)  # that none of them came before
    rare = (before < RARE * rows_before) & ~(never & (chance * len(chance) < NEVER_BY_CHANCE))
    own = int((~rare).sum())
    places = np.cumsum(~rare) - 1
    is_new = once.sum() <= rows_before / 2
    of_before, of_now = (np.where(rare, own + (new & is_new), places) for new in (once, never))
    return of_before, of_now, own + 2
