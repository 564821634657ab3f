"""Rows at the ends of a number: a few that are a hundred times as large move no bin, and are worth a look."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import betainc

from slipway.monitoring.bins import as_numbers, is_quantity, percent
from slipway.monitoring.days import Days, resemblance

#: Ends begin beyond the quantiles of so many rows of the reference, by a part of the distance between both: days that
#: differ move the rows between, and few of them so far.
END, BEYOND = 0.005, 0.25

#: So many more rows there are worth a look.
MORE = 0.01


class Extremes(msgspec.Struct, frozen=True, kw_only=True):
    """Rows at the ends of a number, below `low` and above `high`, where the reference has less than one in a hundred.

    `before` and `now` are the shares of rows that are there, and `p_value` the chance of as many when nothing has
    changed.
    """

    low: float
    high: float
    before: float
    now: float
    p_value: float

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        ends = f"below {self.low:,.6g} or above {self.high:,.6g}"
        return f"is {ends} in {percent(self.now)} of rows, before in {percent(self.before)}"


def extremes(reference: pl.Series, current: pl.Series, days: Days | None = None) -> Extremes | None:
    """Count rows at the ends of a quantity; `None` for what has no ends, and where days do not tell what is chance."""
    if not (is_quantity(reference) and current.dtype.is_numeric()):
        return None
    before, now = (as_numbers(side) for side in (reference, current))
    known = before[~np.isnan(before)]
    if not known.size or np.isnan(now).all():
        return None
    last = known.size - 1
    low, high = np.partition(known, ends := [int(END * last), last - int(END * last)])[ends]
    low, high = low - BEYOND * (high - low), high + BEYOND * (high - low)
    old, new = ((side < low) | (side > high) for side in (before, now))
    p_value = _chance(old, int(new.sum()), new.size, days)
    if p_value is None:
        return None
    return Extremes(low=float(low), high=float(high), before=float(old.mean()), now=float(new.mean()), p_value=p_value)


def _chance(old: NDArray[np.bool_], found: int, rows: int, days: Days | None) -> float | None:
    """The chance of so many rows or more, as a negative binomial distribution has it.

    That is what counts follow whose rate varies like a gamma distribution (M. Greenwood and G. U. Yule, Journal of
    the Royal Statistical Society 83, 1920): here because the reference only measures it, and because days differ.
    """
    at_ends = old.sum() + 0.5
    rate, varies = at_ends / old.size, 1 / at_ends
    if days is not None:
        by_day = days.table(old.astype(np.int64), 2)
        run = resemblance(by_day, days.worth).run
        if not days.tell(run):
            return None
        drawn = days.draws(by_day, run)
        many = drawn.sum(axis=1)
        between = (drawn[:, 1] / many).var() - (rate * (1 - rate) / many).mean()
        varies += max(0.0, float(between)) * days.wider(run) / rate**2
    expected = rate * rows
    return float(betainc(found, 1 / varies, expected * varies / (1 + expected * varies))) if found else 1.0
