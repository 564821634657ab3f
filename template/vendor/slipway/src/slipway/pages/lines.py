"""Lines over a time: curves beside each other, and the trend of one figure with its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from slipway.pages.axis import Axis, extent, levels_of

MOST_NAMES = 8

#: Points of a curve: across, up.
Curve = list[tuple[float, float]]


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
    across = Axis(*extent([x for x, _ in points]), left, width - right - 30)
    levels = levels_of(*extent([y for _, y in points]))
    up = Axis(levels[0], levels[-1], height - bottom, top)

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
        levels=[(round(up(level), 1), f"{level:.6g}") for level in levels],
        names=[(round(across(x), 1), name) for x, name in names[:: -(-len(names) // MOST_NAMES)]],
        paths=[(kind, path(curve)) for kind, curve in drawn if curve],
    )


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
    levels = levels_of(*extent([*known, *(limit for _, limit in limits), *([] if least is None else [least])]), 4)
    up = Axis(levels[0], levels[-1], TREND_HEIGHT - TREND_BELOW - 4, 8)
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
    dates = [(TREND_LEFT + 6, "start", f"{first:%d %b %Y}"), (TREND_WIDTH - 8, "end", f"{last:%d %b %Y}")]
    return Trend(
        label=label,
        levels=[(round(up(level)), f"{level:.4g}") for level in levels],
        limits=[(round(up(limit)), tone) for tone, limit in limits],
        line=line,
        found=list(marked.items()),
        dates=dates if first != last else dates[:1],
    )
