"""The charts of the pages: where everything is drawn. `templates/charts.html.j2` draws it.

There are five: pairs of bars, figures with their intervals beside each other and by window, a figure by window with its
limits, and curves over a time. Each has one scale, with round numbers, and says in its label what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, log10

from slipway.monitoring.bins import Bin

MOST_BARS = 14
MOST_LEVELS, MOST_NAMES = 6, 8
#: More dates beside each other would run into each other.
WINDOWS_A_DATE = 2

Shown = Callable[[float], str]
#: Points of a curve: across, up.
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """Maps figures between two onto a line of pixels, from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, figure: float) -> float:
        """The pixel of a figure."""
        return self.start + (figure - self.low) / ((self.high - self.low) or 1) * (self.end - self.start)


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
    low, high = _extent(ends)
    line = Axis(low, high, 2, 98)

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
    levels = _levels(low, high)
    return Spans(f"{name}: {words}", drawn, [(at(level), shown(level)) for level in levels[:: -(-len(levels) // 4)]])


@dataclass(frozen=True)
class Mark:
    """A figure at a place with its interval, what stands below it, and in words.

    `expected` is what it should be, and from where to where.
    """

    place: int
    value: float
    low: float
    high: float
    below: str
    words: str
    expected: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class DrawnMark:
    """A mark in pixels; a place whose figure is not known has only what was expected of it."""

    x: float
    y: float
    low: float
    high: float
    expected: tuple[float, float, float] | None
    below: str
    words: str


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
    low, high = _extent([*figures, *([] if limit is None else [limit])])
    y = Axis(low, high, height - 10, 10)
    levels = [(level, shown(level)) for level in _levels(low, high)]
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
                mark.below, mark.words,
            )
            for mark in marks
        ],
        dates=[(step * (place + 0.5), _date(begins, place)) for place in range(0, len(begins), WINDOWS_A_DATE)],
    )  # fmt: skip


def _date(begins: Sequence[datetime], place: int) -> str:
    """A date, with its year where that is new."""
    is_new = place < WINDOWS_A_DATE or begins[place - WINDOWS_A_DATE].year != begins[place].year
    return f"{begins[place]:%d %b %Y}" if is_new else f"{begins[place]:%d %b}"


@dataclass(frozen=True)
class Trend:
    """A figure from window to window; `limits` are dashed lines with their classes, `found` the marked windows."""

    label: str
    levels: list[tuple[int, str]]
    limits: list[tuple[int, str]]
    line: str
    found: list[tuple[str, str]]
    dates: list[tuple[int, str, str]]


#: Of a trend in pixels: across, up, and what stands beside and below it.
TREND_WIDTH, TREND_HEIGHT, TREND_LEFT, TREND_BELOW = 340, 120, 44, 20


def trend(
    label: str,
    figures: Sequence[float | None],
    begins: Sequence[datetime],
    limits: Sequence[tuple[str, float]],
    tones: Sequence[str],
    *,
    least: float | None = None,
) -> Trend:
    """Draw a figure of each window, where it is known, and mark those windows that have a tone.

    The scale holds all limits, and `least`: what is far below them is seen to be.
    """
    known = [one for one in figures if one is not None]
    low, high = _extent([*known, *(limit for _, limit in limits), *([] if least is None else [least])])
    up = Axis(low, high, TREND_HEIGHT - TREND_BELOW - 4, 8)
    first, last = begins[0], begins[-1]
    across = Axis(0, (last - first).total_seconds() or 1, TREND_LEFT + 6, TREND_WIDTH - 8)
    places = [
        None if one is None else f"{across((begin - first).total_seconds()):.0f} {up(one):.0f}"
        for begin, one in zip(begins, figures, strict=True)
    ]
    line = "".join(
        f"{'M' if at == 0 or places[at - 1] is None else 'L'}{place}" for at, place in enumerate(places) if place
    )
    marked: dict[str, str] = {}
    for place, tone in zip(places, tones, strict=True):
        if place and (tone or len(known) == 1):
            marked[tone] = f"{marked.get(tone, '')}M{place}h0"
    levels = _levels(low, high)
    dates = [(TREND_LEFT + 6, "start", f"{first:%d %b %Y}"), (TREND_WIDTH - 8, "end", f"{last:%d %b %Y}")]
    return Trend(
        label=label,
        levels=[(round(up(level)), f"{level:.4g}") for level in levels[:: -(-len(levels) // 4)]],
        limits=[(round(up(limit)), tone) for tone, limit in limits],
        line=line,
        found=list(marked.items()),
        dates=dates if first != last else dates[:1],
    )


@dataclass(frozen=True)
class Curves:
    """Curves in a frame: paths with their classes, and words at places across and up."""

    label: str
    width: int
    height: int
    left: int
    right: int
    levels: list[tuple[float, str]]
    names: list[tuple[float, str]]
    paths: list[tuple[str, str]]


def curves(drawn: Sequence[tuple[str, Curve]], names: Sequence[tuple[float, str]], label: str) -> Curves:
    """Draw curves, each with its class, over named places; `label` tells the same in words."""
    width, height, left, right, top, bottom = 680, 300, 64, 16, 14, 44
    points = [point for _, curve in drawn for point in curve]
    across = Axis(*_extent([x for x, _ in points]), left, width - right - 30)
    low, high = _extent([y for _, y in points])
    up = Axis(low, high, height - bottom, top)

    def path(curve: Curve) -> str:
        places = [f"{round(across(x), 1)} {round(up(y), 1)}" for x, y in curve]
        # A line of no length is not seen.
        return f"M{places[0]}h3" if len(places) == 1 else f"M{'L'.join(places)}"

    return Curves(
        label=label,
        width=width,
        height=height,
        left=left,
        right=width - right,
        levels=[(round(up(level), 1), f"{level:.6g}") for level in _levels(low, high)],
        names=[(round(across(x), 1), name) for x, name in names[:: -(-len(names) // MOST_NAMES)]],
        paths=[(kind, path(curve)) for kind, curve in drawn if curve],
    )


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _levels(low: float, high: float) -> list[float]:
    """Round values between two, a few of them: their distance is 1, 2 or 5 times a power of ten.

    >>> _levels(-0.011, 0.034)
    [-0.01, 0.0, 0.01, 0.02, 0.03]
    """
    power = 10 ** floor(log10((high - low) / MOST_LEVELS))
    step = next(step for factor in (1, 2, 5, 10) if (high - low) / (step := factor * power) <= MOST_LEVELS)
    return [round(number * step, 12) for number in range(ceil(low / step), floor(high / step) + 1)]
