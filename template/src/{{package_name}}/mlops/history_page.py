"""All windows of an environment as one HTML page: quality of each version, and how far each column has moved."""

from __future__ import annotations

from datetime import timedelta
from html import escape
from pathlib import Path

from .drift import Verdict
from .history import Window
from .monitor import Report
from .project import MonitorPolicy
from .report import SYMBOLS, document, tone, verdict_mark


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
    rows = "".join(_sizes(name, windows, report.limits) for name in moved)
    measured = "".join(_measured(window) for window in windows)
    title = f"{report.model} in {report.environment}, all windows"
    return document(
        escape(title),
        f"""<p class="over">{escape(title)}, as known at {windows[0].until:%Y-%m-%d}</p>
<h1>{len(windows)} windows of {(windows[0].until - windows[0].since) / timedelta(days=1):g} days.</h1>
<h2>Quality, the latest on the right</h2>
{_curves(report)}
<h2>How far each column has moved, the latest first</h2>
<div class="wide"><table class="grid">
<tr><th>Begins</th>{heads}</tr>
{rows}</table></div>
<p class="over">Population stability index against the reference of the version that answered most; an empty place had
too few rows. From {report.limits.watch:g} on worth a look ◆, from {report.limits.act:g} on worth doing something ▲,
unless chance explains it.</p>
<h2>Window by window, the latest first</h2>
<div class="wide"><table class="words">
<tr><th>Begins</th><th>Version</th><th>Predictions</th><th>Labels due</th><th>Labelled</th><th>Quality</th>
<th>Verdict</th></tr>
{measured}</table></div>
""",
    )


def _sizes(name: str, windows: list[Window], limits: MonitorPolicy) -> str:
    cells = []
    for size in (window.sizes.get(name) for window in windows):
        if size is None:
            cells.append("<td></td>")
        elif size < limits.watch:
            cells.append(f"<td>{size:.2f}</td>")
        else:
            verdict = Verdict.ACT if size >= limits.act else Verdict.WATCH
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


def _curves(report: Report) -> str:
    """The metric of each version from window to window, with its interval and the limit; unknown is a gap."""
    points = [
        (place, one) for place, window in enumerate(report.windows) for one in window.quality if one.value is not None
    ]
    if not points:
        return '<p class="over">Unknown: no window has enough labels.</p>'
    limit = [report.quality.limit] if report.quality else []
    values = [figure for _, one in points for figure in (one.low, one.high) if figure is not None] + limit
    low, high = min(values), max(values)
    step, height = 40, 160

    def x(place: int) -> float:
        return 60 + step * (place + 0.5)

    def y(figure: float) -> float:
        return 10 + (height - 20) * (high - figure) / ((high - low) or 1)

    width = x(len(report.windows))
    marks = [f'<text x="0" y="{y(figure) + 4:.0f}">{figure:.4f}</text>' for figure in sorted({low, high})]
    for figure in limit:
        marks.append(f'<line class="limit" x1="60" x2="{width:.0f}" y1="{y(figure):.1f}" y2="{y(figure):.1f}"/>')
        marks.append(f'<text x="{width:.0f}" y="{y(figure) - 4:.1f}" text-anchor="end">limit {figure:.4f}</text>')
    for place, one in points:
        at, ends = x(place), (y(one.high or 0), y(one.low or 0))
        told = f"{report.windows[place].since:%d %b %Y}, version {one.version}: {one.metric} {one.value:.4f}"
        marks.append(f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>')
        marks.append(f'<circle cx="{at:.0f}" cy="{y(one.value or 0):.1f}" r="4"><title>{told}</title></circle>')
        marks.append(f'<text x="{at:.0f}" y="{height + 14}" text-anchor="middle">v{one.version}</text>')
    metric = escape(points[0][1].metric)
    return (
        f'<div class="wide"><svg role="img" aria-label="{metric} by window" width="{width:.0f}" '
        f'height="{height + 20}">{"".join(marks)}</svg></div>\n'
        f'<p class="over">{metric} with its interval at one look. '
        "A window without enough labels is unknown and has no mark.</p>"
    )
