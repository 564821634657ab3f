"""The charts of the pages: where everything is drawn. `templates/charts.html.j2` draws it.

Here are pairs of bars, and figures with their intervals below each other and by window; `lines.py` has the others. Each
has one scale, with round numbers, and says in its label what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from slipway.monitoring.bins import Bin
from slipway.pages.axis import Axis, extent, levels_of

MOST_BARS = 14
#: More dates beside each other would run into each other.
WINDOWS_A_DATE = 2

Shown = Callable[[float], str]


@dataclass(frozen=True)
class Pair:
    """Two bars of a bin, as parts of the longest in percent, and both figures in words."""

    label: str
    before: str
    now: str
    words: str


@dataclass(frozen=True)
class Bars:
    """A pair of bars for each bin; `hidden` bins moved less than those that are drawn."""

    label: str
    pairs: list[Pair]
    hidden: int


def bars(name: str, bins: Sequence[Bin], shown: Shown) -> Bars | None:
    """Draw a pair of bars for each bin; of many bins those that moved most, in their order; `None` without any.

    `name` says what they show, and what is found there.
    """
    largest = sorted(bins, key=lambda group: -abs(group.now - group.reference))[:MOST_BARS]
    drawn = [group for group in bins if group in largest]
    if not drawn:
        return None
    top = max(max(group.reference, group.now) for group in drawn)
    words = "; ".join(f"{group.label} {shown(group.reference)}, now {shown(group.now)}" for group in drawn)

    def width(figure: float) -> str:
        # Where means are negative there is no bar, and the figures tell.
        return f"{max(0, 100 * figure / (top or 1)):.1f}"

    pairs = [
        Pair(group.label, width(group.reference), width(group.now), f"{shown(group.reference)} → {shown(group.now)}")
        for group in drawn
    ]
    return Bars(f"{name}: {words}", pairs, len(bins) - len(drawn))


@dataclass(frozen=True)
class Span:
    """A figure in words with its interval on a line, all in percent of it; `expected` is where it should be.

    `tone` is the class that colours it.
    """

    label: str
    tone: str
    at: str
    low: str
    width: str
    expected: str | None
    words: str


@dataclass(frozen=True)
class Spans:
    """Figures with their intervals below each other on one scale, whose round numbers are `levels`."""

    label: str
    spans: list[Span]
    levels: list[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A figure, from where to where it may be, where it should be, what it is called and what is said of it."""

    label: str
    value: float
    low: float
    high: float
    words: str
    expected: float | None = None
    tone: str = ""


def spans(name: str, figures: Sequence[Figure], shown: Shown) -> Spans | None:
    """Draw figures with their intervals below each other; `None` without any."""
    if not figures:
        return None
    ends = [end for one in figures for end in (one.value, one.low, one.high, one.expected) if end is not None]
    levels = levels_of(*extent(ends), 4)
    line = Axis(levels[0], levels[-1], 4, 96)

    def at(figure: float) -> str:
        return f"{line(figure):.1f}"

    drawn = [
        Span(
            one.label, one.tone, at(one.value), at(one.low), f"{line(one.high) - line(one.low):.1f}",
            None if one.expected is None else at(one.expected), one.words,
        )
        for one in figures
    ]  # fmt: skip
    words = "; ".join(f"{one.label}: {one.words}" for one in figures)
    return Spans(f"{name}: {words}", drawn, [(at(level), shown(level)) for level in levels])


@dataclass(frozen=True)
class Mark:
    """A figure at a place with its interval, what stands below it, and in words.

    `expected` is what it should be, and from where to where; `tone` the class that colours it.
    """

    place: int
    value: float
    low: float
    high: float
    below: str
    words: str
    expected: tuple[float, float, float] | None = None
    tone: str = ""


@dataclass(frozen=True)
class DrawnMark:
    """A mark in pixels."""

    x: float
    y: float
    low: float
    high: float
    expected: tuple[float, float, float] | None
    below: str
    words: str
    tone: str


@dataclass(frozen=True)
class Intervals:
    """Marks beside each other; `levels`, `dates` are places with words, `limit` is the height of a dashed line."""

    label: str
    end: int
    width: int
    height: int
    levels: list[tuple[float, str]]
    limit: float | None
    marks: list[DrawnMark]
    dates: list[tuple[float, str]]


def intervals(
    name: str, marks: Sequence[Mark], begins: Sequence[datetime], shown: Shown, limit: float | None = None
) -> Intervals:
    """Draw marks at their places, one for each window; the places of others stay empty."""
    step, right, height, line = 40, 90, 180, 14
    figures = [one for mark in marks for one in (mark.low, mark.high, *(mark.expected or ()))]
    round_ones = levels_of(*extent([*figures, *([] if limit is None else [limit])]))
    y = Axis(round_ones[0], round_ones[-1], height - 10, 10)
    levels = [(level, shown(level)) for level in round_ones]
    if limit is not None:
        levels = [one for one in levels if abs(y(one[0]) - y(limit)) > line] + [(limit, f"limit {shown(limit)}")]
    end = step * len(begins)
    return Intervals(
        label=name,
        end=end,
        width=end + right,
        height=height,
        levels=[(y(figure), words) for figure, words in levels],
        limit=None if limit is None else y(limit),
        marks=[
            DrawnMark(
                step * (mark.place + 0.5), y(mark.value), y(mark.low), y(mark.high),
                None if mark.expected is None else (y(mark.expected[0]), y(mark.expected[1]), y(mark.expected[2])),
                mark.below, mark.words, mark.tone,
            )
            for mark in marks
        ],
        dates=[(step * (place + 0.5), _date(begins, place)) for place in range(0, len(begins), WINDOWS_A_DATE)],
    )  # fmt: skip


def _date(begins: Sequence[datetime], place: int) -> str:
    """A date, with its year where that is new."""
    is_new = place < WINDOWS_A_DATE or begins[place - WINDOWS_A_DATE].year != begins[place].year
    return f"{begins[place]:%d %b %Y}" if is_new else f"{begins[place]:%d %b}"
