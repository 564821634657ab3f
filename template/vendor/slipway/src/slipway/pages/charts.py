"""The charts of the pages: where everything is drawn. `templates/charts.html.j2` draws it.

There are three: pairs of bars, figures with their intervals by window, and curves over a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """Draw a pair of bars for each bin; of many bins those that moved most, in their order; `None` without any."""
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
class Mark:
    """A figure at a place with its interval, what stands below it, and in words; `expected` is what it should be."""

    place: int
    value: float
    low: float
    high: float
    below: str
    words: str
    expected: float | None = None


@dataclass(frozen=True)
class DrawnMark:
    """A mark in pixels."""

    x: float
    y: float
    low: float
    high: float
    expected: float | None
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
    name: str, marks: Sequence[Mark], dates: Sequence[str], shown: Shown, limit: float | None = None
) -> Intervals:
    """Draw marks at their places, one for each date; the places of others stay empty."""
    step, right, height, line = 40, 80, 160, 14
    figures = [one for mark in marks for one in (mark.low, mark.high, mark.expected) if one is not None]
    figures += [] if limit is None else [limit]
    low, high = min(figures), max(figures)
    # A single figure stands at the top.
    y = Axis(low, high, height - 10, 10) if high > low else Axis(low, low + 1, 10, 10)
    levels = [(low, shown(low)), (high, shown(high))]
    if limit is not None:
        levels = [one for one in levels if abs(y(one[0]) - y(limit)) > line] + [(limit, f"limit {shown(limit)}")]
    end = step * len(dates)
    return Intervals(
        label=f"{name} by window",
        end=end,
        width=end + right,
        height=height,
        levels=[(y(figure), words) for figure, words in levels],
        limit=None if limit is None else y(limit),
        marks=[
            DrawnMark(
                step * (mark.place + 0.5), y(mark.value), y(mark.low), y(mark.high),
                None if mark.expected is None else y(mark.expected), mark.below, mark.words,
            )
            for mark in marks
        ],
        dates=[(step * (place + 0.5), dates[place]) for place in range(0, len(dates), WINDOWS_A_DATE)],
    )  # fmt: skip


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
