"""All windows of an environment as one HTML page: quality of each version, and how far each column has moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from html import escape
from pathlib import Path
from typing import NamedTuple

from .history import Window
from .monitor import Report, shown_mean
from .report import SYMBOLS, document, tone, verdict_mark

#: Of a chart: the width of a window and of the words beside the last, the height of all, and that of a line of words.
STEP, RIGHT, HEIGHT, LINE = 40, 80, 160, 14
#: More dates would run into each other.
WINDOWS_A_DATE = 2


class Mark(NamedTuple):
    """A figure of a version in a window, between two others, and in words; `expected` is what it should have been."""

    place: int
    version: int
    value: float
    low: float
    high: float
    told: str
    expected: float | None = None


def write(report: Report, root: Path) -> None:
    """Write the page into the project, where there are windows to tell of."""
    if report.windows:
        target = root / report.history
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(report), encoding="utf-8", newline="\n")


def page(report: Report) -> str:
    """Return the page; equal reports give equal pages."""
    windows = report.windows[::-1]
    columns = list(dict.fromkeys(name for window in windows for name in window.sizes))
    moved = sorted(columns, key=lambda name: -max(window.sizes.get(name, 0) for window in windows))
    heads = "".join(f"<th>{window.since:%d %b %Y}</th>" for window in windows)
    rows = "".join(_sizes(name, windows) for name in moved)
    measured = "".join(_measured(window) for window in windows)
    title = f"{report.model} in {report.environment}, all windows"
    return document(
        escape(title),
        f"""<p class="over">{escape(title)}, as known at {windows[0].until:%Y-%m-%d}</p>
<h1>{len(windows)} windows of {(windows[0].until - windows[0].since) / timedelta(days=1):g} days.</h1>
<h2>Quality, the latest on the right</h2>
{_quality(report)}
{_outcomes(report)}<h2>How far each column has moved, the latest first</h2>
<div class="wide"><table class="grid">
<tr><th>Begins</th>{heads}</tr>
{rows}</table></div>
<p class="over">Population stability index against the reference of the version that answered most; an empty place had
too few rows. ◆ from {report.limits.watch:g} on: worth a look. ▲ from {report.limits.act:g} on: worth doing something.
Where chance explains a size it has no mark.</p>
<h2>Window by window, the latest first</h2>
<div class="wide"><table class="words">
<tr><th>Begins</th><th>Version</th><th>Predictions</th><th>Labels due</th><th>Labelled</th><th>Quality</th>
<th>Verdict</th></tr>
{measured}</table></div>
""",
    )


def _sizes(name: str, windows: list[Window]) -> str:
    cells = []
    for window in windows:
        size = window.sizes.get(name)
        if size is None:
            cells.append("<td></td>")
        elif name not in window.moved:
            cells.append(f"<td>{size:.2f}</td>")
        else:
            verdict = window.moved[name]
            cells.append(f'<td class="{tone(verdict)} verdict">{SYMBOLS[verdict]} {size:.2f}</td>')
    return f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>\n"


def _measured(window: Window) -> str:
    """A line for each version that answered in a window; what the window shows stands behind the first."""
    told = f"<td>{verdict_mark(window.verdict)} {escape(window.sentence)}</td>"
    begins = f"<th>{window.since:%d %b %Y}</th>"
    if not window.quality:
        version = window.version if window.version is not None else ""
        return f"<tr>{begins}<td>{version}</td><td>{window.predictions:,}</td><td></td><td></td><td></td>{told}</tr>\n"
    lines = []
    for one in window.quality:
        value = f"{one.metric} {one.value:.4f}" if one.value is not None else f"unknown: {escape(one.unknown)}"
        groups = "".join(f"<li>{escape(name)}: {figure:.4f}</li>" for name, figure in one.groups.items())
        by_group = f"<details><summary>by group</summary><ul>{groups}</ul></details>" if groups else ""
        made = f"{window.predictions:,}" if one.version == window.version else ""
        lines.append(
            f"<tr>{begins}<td>{one.version}</td><td>{made}</td><td>{one.due:,}</td><td>{one.labelled:,}</td>"
            f"<td>{value}{by_group}</td>{told}</tr>\n"
        )
        begins, told = "<th></th>", "<td></td>"
    return "".join(lines)


def _quality(report: Report) -> str:
    """The metric of each version from window to window, with the limit; unknown is a gap."""
    marks = [
        Mark(place, one.version, one.value, one.low, one.high, f"{one.metric} {one.value:.4f}")
        for place, window in enumerate(report.windows)
        for one in window.quality
        if one.value is not None and one.low is not None and one.high is not None
    ]
    if not marks:
        return '<p class="over">Unknown: no window has enough labels.</p>'
    metric = report.windows[marks[0].place].quality[0].metric
    limit = report.quality.limit if report.quality else None
    return (
        f"{_chart(report, metric, marks, '{:.4f}'.format, limit)}"
        f'<p class="over">{escape(metric)} with its interval at one look. '
        "A window without enough labels is unknown and has no mark.</p>"
    )


def _outcomes(report: Report) -> str:
    """What each version expected and what happened, from window to window; nothing where no labels tell."""
    shown = partial(shown_mean, report)
    marks = [
        Mark(
            place, one.version, told.happened, told.happened - told.margin, told.happened + told.margin,
            f"{shown(told.happened)}, expected {shown(told.expected)}", told.expected,
        )
        for place, window in enumerate(report.windows)
        for one in window.quality
        if (told := one.outcome)
    ]  # fmt: skip
    if not marks:
        return ""
    return (
        f"<h2>What was expected, and what happened</h2>\n{_chart(report, 'what happened', marks, shown)}"
        '<p class="over">A dot is what happened, with its interval at one look; '
        "a bar is what the version that answered expected.</p>\n"
    )


def _chart(
    report: Report, name: str, marks: Sequence[Mark], shown: Callable[[float], str], limit: float | None = None
) -> str:
    figures = [one for mark in marks for one in (mark.low, mark.high, mark.expected) if one is not None]
    figures += [] if limit is None else [limit]
    low, high = min(figures), max(figures)

    def x(place: int) -> float:
        return STEP * (place + 0.5)

    def y(figure: float) -> float:
        return 10 + (HEIGHT - 20) * (high - figure) / ((high - low) or 1)

    end = STEP * len(report.windows)
    told = [(low, shown(low)), (high, shown(high))]
    if limit is not None:
        told = [one for one in told if abs(y(one[0]) - y(limit)) > LINE] + [(limit, f"limit {shown(limit)}")]
    drawn = [f'<text x="{end + 4}" y="{y(figure) + 4:.0f}">{text}</text>' for figure, text in told]
    if limit is not None:
        drawn.append(f'<line class="limit" x1="0" x2="{end}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    for mark in marks:
        at, window = x(mark.place), report.windows[mark.place]
        words = escape(f"{window.since:%d %b %Y}, version {mark.version}: {mark.told}")
        drawn.append(f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{y(mark.low):.1f}" y2="{y(mark.high):.1f}"/>')
        if mark.expected is not None:
            level = f'y1="{y(mark.expected):.1f}" y2="{y(mark.expected):.1f}"'
            drawn.append(f'<line class="expected" x1="{at - 12:.0f}" x2="{at + 12:.0f}" {level}/>')
        drawn.append(f'<circle cx="{at:.0f}" cy="{y(mark.value):.1f}" r="4"><title>{words}</title></circle>')
        drawn.append(f'<text x="{at:.0f}" y="{HEIGHT + 14}" text-anchor="middle">v{mark.version}</text>')
    for place in range(0, len(report.windows), WINDOWS_A_DATE):
        day = f"{report.windows[place].since:%d %b}"
        drawn.append(f'<text x="{x(place):.0f}" y="{HEIGHT + 30}" text-anchor="middle">{day}</text>')
    return (
        f'<div class="wide from-right"><svg role="img" aria-label="{escape(name)} by window" width="{end + RIGHT}" '
        f'height="{HEIGHT + 36}">{"".join(drawn)}</svg></div>\n'
    )
