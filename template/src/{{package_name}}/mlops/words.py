"""Numbers, shares, dates and changes in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import floor, isfinite, log10

MISSING = "missing"


def figures(*values: float) -> list[str]:
    """Write numbers with three digits that count, and with more when they would look the same.

    >>> figures(45.04, 74.1), figures(1013.2, 1013.4), figures(8.0, 10.0)
    (['45.0', '74.1'], ['1,013.2', '1,013.4'], ['8', '10'])
    """
    if all(float(value).is_integer() for value in values):
        return [f"{value:,.0f}" for value in values]
    largest = max((abs(value) for value in values if isfinite(value)), default=0.0)
    decimals = max(0, 2 - floor(log10(largest))) if largest else 0
    while decimals < 9:
        written = [f"{value:,.{decimals}f}" for value in values]
        if len(set(written)) == len(set(values)):
            return written
        decimals += 1
    return [f"{value:,.9g}" for value in values]


def percent(share: float) -> str:
    """Write a share of rows for people.

    >>> percent(0.352), percent(0.0042), percent(0.0001), percent(0)
    ('35 %', '0.4 %', 'under 0.1 %', 'none')
    """
    if share == 0:
        return "none"
    if share < 0.001:
        return "under 0.1 %"
    decimals = 0 if share >= 0.0995 else 1
    return f"{100 * share:.{decimals}f} %"


def period(first: datetime, last: datetime) -> str:
    """Write a span of days.

    >>> period(datetime(2013, 9, 28), datetime(2013, 10, 3))
    '28 September to 3 October 2013'
    """
    end = f"{last.day} {last:%B} {last.year}"
    if first.date() == last.date():
        return end
    if first.year != last.year:
        return f"{first.day} {first:%B} {first.year} to {end}"
    if first.month != last.month:
        return f"{first.day} {first:%B} to {end}"
    return f"{first.day} to {end}"


def ranges(scale: Sequence[float], *, whole: bool) -> list[str]:
    """Name the bins between the numbers of a scale; the first and the last are open.

    Whole numbers are named by those that are in the bin.

    >>> ranges([0, 5, 10, 15], whole=False), ranges([0, 5, 10, 15], whole=True)
    (['under 5', '5 to 10', '10 or more'], ['under 5', '5 to 9', '10 or more'])
    """
    if len(scale) <= 2:
        return ["any value"]
    written = [f"{edge:,.10g}" for edge in scale]
    tops = [f"{edge - 1:,.10g}" for edge in scale] if whole else written
    inner = [low if low == top else f"{low} to {top}" for low, top in zip(written[1:-2], tops[2:-1], strict=True)]
    return [f"under {written[1]}", *inner, f"{written[-2]} or more"]


def went(before: float, now: float) -> str:
    """Say how a share of the rows changed.

    >>> went(0.35, 0.61)
    'went from 35 % to 61 % of rows'
    """
    if before == 0:
        return f"is new: {percent(now)} of rows, before none"
    if now == 0:
        return f"is gone: it was {percent(before)} of rows"
    texts = (percent(before), percent(now))
    if texts[0] == texts[1]:
        texts = (f"{100 * before:.2f} %", f"{100 * now:.2f} %")
    return f"went from {texts[0]} to {texts[1]} of rows"


def missing_change(name: str, before: float, now: float) -> str:
    """Say how the share of missing values changed.

    >>> missing_change("temp", 0, 0.31)
    'temp is missing in 31 % of rows, before in none'
    """
    where = f"{percent(now)} of rows" if now else "no row"
    return f"{name} is missing in {where}, before in {percent(before)}"


def middle_change(name: str, before: float, now: float) -> str:
    """Say how the median changed.

    >>> middle_change("temp", 45.04, 74.1)
    'temp moved up: the middle value went from 45.0 to 74.1'
    """
    texts = figures(before, now)
    direction = "up" if now > before else "down"
    return f"{name} moved {direction}: the middle value went from {texts[0]} to {texts[1]}"


def spread_change(name: str, before: tuple[float, float], now: tuple[float, float]) -> str:
    """Say how the range of the middle half of the rows changed.

    >>> spread_change("temp", (30, 40), (20, 50))
    'temp spread out: half of the rows are between 20 and 50, before between 30 and 40'
    """
    a, b, c, d = figures(*now, *before)
    direction = "spread out" if now[1] - now[0] > before[1] - before[0] else "drew together"
    return f"{name} {direction}: half of the rows are between {a} and {b}, before between {c} and {d}"
