"""The population stability index: the drift test that runs where the policy names no other.

It is the effect size of the two histograms of a column,

    PSI = sum over bins of (b - a) * ln(b / a),    a, b: shares of rows before and now,

which has no unit, is zero for equal shapes and is usually read as 0.1: worth a look, 0.25: act.
With nothing changed it still is not zero: for n and m rows in B bins it follows
(1/n + 1/m) times a chi-square distribution with B - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
Validation 14(4), 2020). So each PSI has a p-value.

That takes every row for a draw of its own. Rows of one day are often alike, as all flights of a
stormy one, and so are days that follow each other. Where rows have a time, the PSI is near to a sum of
squares whose variances are those of rows and, in each way in which shares can move, that of days (J. N. K.
Rao and A. J. Scott, "On chi-squared tests for multiway contingency tables with cell proportions estimated
from survey data", Annals of Statistics 12(1), 1984; see `days`). Three moments give its distribution (J. P.
Imhof, "Computing the distribution of quadratic forms in normal variables", Biometrika 48, 1961). As what days
add is itself only measured, it is an F distribution and no chi-square (D. R. Thomas and J. N. K. Rao,
"Small-sample comparisons of level and power for simple goodness-of-fit statistics under cluster sampling",
JASA 82, 1987).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, gammaincc

from slipway.monitoring.bins import BinCounts
from slipway.monitoring.days import FEWEST_TO_SEE, Days, Differences, Floats, Ints, differences

#: Bins with a smaller share of the reference are measured together: a handful of rows makes
#: a share that jumps, and the chi-square distribution above no longer describes it.
RARE = 0.01

#: Where chance lets none of the new values be this frequent, in one column of a thousand.
NEVER_BY_CHANCE = 0.001

#: Days that more history may be of, to say how many would tell a change from chance.
HISTORIES = (FEWEST_TO_SEE, 180, 365, 730, 1_095, 1_825)


class Measured(NamedTuple):
    """The PSI of a column, and the chance of this much or more when nothing has changed.

    Days of the reference resemble their neighbours over a `run`; 1 where none does. `least` is the chance of the
    largest change there is: where it is not small, no change can be told from chance. `longer` is what that would be
    with a reference of so many days that differ as these do.
    """

    size: float
    p_value: float
    run: int = 1
    least: float = 0.0
    longer: tuple[tuple[int, float], ...] = ()


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
    found = differences(by_day, days.worth)
    rows = np.full(freedom, mean / freedom)
    # All rows in the bin that had the fewest.
    least_of = by_day.sum(axis=0)
    largest = float(psi(least_of, rows_now * (np.arange(len(least_of)) == least_of.argmin())))
    longer = tuple(
        (many, _chance(largest, rows, found._replace(freedom=found.freedom * many / days.many)))
        for many in HISTORIES
        if many > days.many and replace(days, many=many).tell(found.run)
    )
    least = _chance(largest, rows, found) if days.tell(found.run) else 1.0
    return Measured(size, _chance(size, rows, found), found.run, least, longer)


def _chance(size: float, rows: Floats, found: Differences) -> float:
    """The chance of such a sum of squares: `rows` add this variance in each way, and days what was `found` of them."""
    ways = np.sort(found.ways)[-len(rows) :]
    both = rows + np.pad(ways, (len(rows) - len(ways), 0))
    first, second, third = (float((both**power).sum()) for power in (1, 2, 3))
    freedom = second**3 / third**2
    ratio = max(0.0, 1 + (size - first) / np.sqrt(freedom * second))
    # Of a way that stands out from the noise of days with few rows, that makes the variance less certain.
    unsure = float(np.square(ways * (1 + found.noise / (ways + found.noise))).sum())
    if not unsure:
        return float(gammaincc(freedom / 2, freedom / 2 * ratio))
    return float(fdtrc(freedom, freedom * found.freedom * second / unsure, ratio))


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
