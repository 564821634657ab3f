"""Rows at the ends of a number: a few that are a hundred times as large move no bin, and are worth a look."""

from __future__ import annotations

from math import sqrt

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import betainc

from slipway.monitoring.bins import as_numbers, is_quantity, percent
from slipway.monitoring.days import Days, Floats, differences

#: Ends begin beyond the quantiles of so many rows of the reference, by a part of the distance between both: days that
#: differ move the rows between, and few of them so far.
END, BEYOND = 0.005, 0.25

#: Of so many rows.
QUARTILES, ENOUGH = (0.25, 0.5, 0.75), 50_000

#: So many more rows there are worth a look.
MORE = 0.01


class Extremes(msgspec.Struct, frozen=True, kw_only=True):
    """Rows at the ends of a number, below `low` and above `high`, where the reference has less than one in a hundred.

    Where the middle half of now has moved or is wider than that of the reference, they are as much farther out.
    `before` and `now` are the shares of rows there, and `p_value` the chance of as many when nothing has changed.
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
    some, some_now = (_some(side) for side in (before, now))
    if not (some.size and some_now.size):
        return None
    last = some.size - 1
    low, high = np.partition(some, at := [int(END * last), last - int(END * last)])[at]
    low, high = low - BEYOND * (high - low), high + BEYOND * (high - low)
    ends = float(low), float(high)
    low, high = _moved(some, some_now, *ends)
    new, there = _share(now, low, high), _share(some, low, high)
    if new - there < MORE:  # as nearly always: no chance of it is needed
        return Extremes(low=low, high=high, before=there, now=new, p_value=1.0)
    p_value = _chance((before < ends[0]) | (before > ends[1]), round(new * now.size), now.size, days)
    there = _share(before, low, high)
    return None if p_value is None else Extremes(low=low, high=high, before=there, now=new, p_value=p_value)


def _share(numbers: Floats, low: float, high: float) -> float:
    return float((np.abs(numbers - (low + high) / 2) > (high - low) / 2).mean())


def _some(numbers: Floats) -> Floats:
    """Numbers that tell the quantiles of all, evenly spread."""
    found: Floats = numbers[:: 1 + numbers.size // ENOUGH]
    return found[~np.isnan(found)]


def _moved(before: Floats, now: Floats, low: float, high: float) -> tuple[float, float]:
    """The ends, moved as the middle half of all rows has, and never inwards.

    A day that moves them all moves many of them over the ends, too often and too seldom for a variance to tell.
    """
    (left, middle, right), (left_now, middle_now, right_now) = (np.quantile(side, QUARTILES) for side in (before, now))
    wider = (right_now - left_now) / (right - left) if right > left else 1.0
    ends = [float(middle_now + (end - middle) * wider) for end in (low, high)]
    return min(float(low), ends[0]), max(float(high), ends[1])


def _chance(old: NDArray[np.bool_], found: int, rows: int, days: Days | None) -> float | None:
    """The chance of so many rows or more, as a negative binomial distribution has it.

    That is what counts follow whose rate varies like a gamma distribution (M. Greenwood and G. U. Yule, Journal of
    the Royal Statistical Society 83, 1920): here because the reference only measures it, and because days differ.
    """
    at_ends = old.sum() + 0.5
    rate, varies = at_ends / old.size, 1 / at_ends
    if days is not None:
        of_day = np.bincount(days.places[old], minlength=days.many)
        between = differences(np.column_stack([days.rows - of_day, of_day]), days.worth)
        if not days.tell(between.run):
            return None
        # Of two shares, the metric is the variance of one by that of a row. So few rows tell it badly: it may be more.
        ways = float(between.ways.sum())
        varies += (ways + (ways + between.noise) * sqrt(2 / between.freedom)) * (1 - rate) / rate
    expected = rate * rows
    return float(betainc(found, 1 / varies, expected * varies / (1 + expected * varies))) if found else 1.0
