"""A back-test as one HTML page with two pictures: no scripts, nothing to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import groupby
from math import ceil, floor, log10
from pathlib import Path

from .backtest import Age, Backtest, shown_interval, shown_range, told
from .report import document

WIDTH, HEIGHT = 680, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
MOST_LEVELS, MOST_NAMES = 6, 8

#: Points of a curve: across, up.
Curve = list[tuple[float, float]]

_STYLE = """<style>
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--soft); }
svg path { fill: none; stroke: var(--before); stroke-width: 1.2; }
svg .axis { stroke: var(--line); }
svg .main { stroke: var(--now); stroke-width: 2.6; }
svg .limit { stroke: var(--act); stroke-dasharray: 6 4; }
svg .band { fill: var(--now); fill-opacity: 0.16; stroke: none; }
</style>"""


def write(result: Backtest, root: Path) -> Path:
    """Write the page into the project."""
    target = root / result.page
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(result), encoding="utf-8", newline="\n")
    return target


def page(result: Backtest) -> str:
    """Return the page; equal back-tests give equal pages."""
    return document(
        escape(f"How {result.model} ages"),
        f"""{_STYLE}
<p class="over">{escape(told(result))}</p>
<div class="answer {"watch" if result.drops_at_days else "ok"}">
<h1>{escape(result.sentence)}.</h1>
<p>Next: {escape(result.next_step)}.</p>
</div>
<p class="over">{escape(". ".join(result.remarks))}.</p>
<h2>What age costs</h2>
<p class="over">How much worse than a fresh model in {escape(result.metric)}, by age in days. Thin: each cut-off.
Thick: their mean, with its 95 % interval where there are enough of them. Dashed: the drop that
<code>policy.yaml</code> accepts, {result.drop:g}.</p>
<section>{_cost(result)}</section>
<h2>Every model, window by window</h2>
<p class="over">{escape(result.metric)} in each window. Thin: a model from its cut-off on.
Thick: the fresh model of each window.</p>
<section>{_windows(result)}</section>
<h2>By age</h2>
<table>
<tr><th>Age</th><th>{escape(result.metric)}</th><th>Fresh</th><th>Worse by</th><th>Between</th><th>Least to most</th>
<th>Cut-offs</th></tr>
{"".join(map(_row, result.ages))}</table>
""",
    )


def _row(age: Age) -> str:
    return (
        f"<tr><th>{age.days:g} days</th><td>{age.value:.4f}</td><td>{age.fresh:.4f}</td><td>{age.worse_by:+.4f}</td>"
        f"<td>{shown_interval(age)}</td><td>{shown_range(age)}</td><td>{age.cut_offs}</td></tr>\n"
    )


def _cost(result: Backtest) -> str:
    models = [
        [(one.age_days, one.worse_by) for one in curve]
        for _, curve in groupby(
            sorted(result.measured, key=lambda one: (one.cut_off, one.window)), lambda one: one.cut_off
        )
    ]
    mean = [(age.days, age.worse_by) for age in result.ages]
    known = [(age.days, age.low, age.high) for age in result.ages if age.low is not None and age.high is not None]
    band = [(days, low) for days, low, _ in known] + [(days, high) for days, _, high in reversed(known)]
    oldest = max(days for days, _ in mean)
    limit = [(0.0, result.drop), (oldest, result.drop)]
    chart = Chart([*models, band, limit])
    return chart.draw(
        [("band", band), *(("", curve) for curve in models), ("limit", limit), ("main", mean)],
        [(days, f"{days:g}") for days, _ in mean],
        f"{result.metric}, worse than fresh by: "
        + "; ".join(f"{age.days:g} days {age.worse_by:+.4f}" for age in result.ages),
    )


def _windows(result: Backtest) -> str:
    first = min(one.window for one in result.measured)

    def place(moment: datetime) -> float:
        return (moment - first) / timedelta(days=1)

    ordered = sorted(result.measured, key=lambda one: (one.cut_off, one.window))
    models = [
        [(place(one.window), one.value) for one in curve] for _, curve in groupby(ordered, lambda one: one.cut_off)
    ]
    fresh = [one for one in ordered if not one.age_days]
    main = [(place(one.window), one.value) for one in fresh]
    return Chart(models).draw(
        [*(("", curve) for curve in models), ("main", main)],
        [(place(one.window), f"{one.window:%Y-%m-%d}") for one in fresh],
        f"{result.metric} of the fresh model: " + "; ".join(f"{one.window:%Y-%m-%d} {one.value:.4f}" for one in fresh),
    )


class Chart:
    """A frame of fixed size that holds all the curves given."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        points = [point for curve in curves for point in curve]
        self._x = _extent([x for x, _ in points])
        self._y = _extent([y for _, y in points])

    def draw(self, curves: Sequence[tuple[str, Curve]], names: Sequence[tuple[float, str]], label: str) -> str:
        """Draw curves, each with its class, over named places; `label` tells the same in words."""
        every = -(-len(names) // MOST_NAMES)
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
        for level in _levels(*self._y):
            y = self._up(level)
            parts.append(f'<path class="axis" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{level:.6g}</text>')
        for x, name in names[::every]:
            parts.append(f'<text x="{self._across(x)}" y="{HEIGHT - 16}" text-anchor="middle">{escape(name)}</text>')
        parts += [f'<path class="{kind}" d="{self._path(curve)}"/>' for kind, curve in curves if curve]
        return "\n".join([*parts, "</svg>"])

    def _path(self, curve: Curve) -> str:
        if len(curve) == 1:  # a line of no length is not seen
            return f"M{self._across(curve[0][0])} {self._up(curve[0][1])}h3"
        return "M" + "L".join(f"{self._across(x)} {self._up(y)}" for x, y in curve)

    def _across(self, x: float) -> float:
        low, high = self._x
        return round(LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT - 30), 1)

    def _up(self, y: float) -> float:
        low, high = self._y
        return round(HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)


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
