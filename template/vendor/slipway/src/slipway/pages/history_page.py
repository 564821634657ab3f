"""All windows of an environment as one HTML page: quality of each version, and how far each column has moved."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

from slipway.base.numbers import shown
from slipway.monitoring.report import Report, shown_mean
from slipway.pages import charts
from slipway.pages.charts import Intervals, Mark
from slipway.pages.render import render, write


def write_history_page(report: Report, root: Path) -> None:
    """Write the page into the project, where there are windows to tell of."""
    if report.windows:
        write(history_page(report), root / report.history)


def history_page(report: Report) -> str:
    """Return the page; equal reports give equal pages."""
    windows = report.windows[::-1]
    names = list(dict.fromkeys(name for window in windows for name in window.sizes))
    scales = list(dict.fromkeys(scale for window in windows for scale in window.scales))
    return render(
        "history",
        title=f"{report.model} in {report.environment}, all windows",
        windows=windows,
        days=f"{(windows[0].until - windows[0].since) / timedelta(days=1):g}",
        columns=sorted(names, key=lambda name: -max(window.sizes.get(name, 0) for window in windows)),
        scales=scales,
        words=" or ".join(scale.words for scale in scales).capitalize() or "How far each column has moved",
        metric=next((one.metric for window in report.windows for one in window.quality), ""),
        quality=_quality(report),
        outcomes=_outcomes(report),
    )


def _dates(report: Report) -> list[str]:
    return [f"{window.since:%d %b}" for window in report.windows]


def _words(report: Report, place: int, version: int, figure: str) -> str:
    return f"{report.windows[place].since:%d %b %Y}, version {version}: {figure}"


def _quality(report: Report) -> Intervals | None:
    """The metric of each version from window to window, with the limit; unknown is a gap."""
    marks = [
        Mark(
            place, one.value, one.low, one.high, f"v{one.version}",
            _words(report, place, one.version, f"{one.metric} {shown(one.value)}"),
        )
        for place, window in enumerate(report.windows)
        for one in window.quality
        if one.value is not None and one.low is not None and one.high is not None
    ]  # fmt: skip
    if not marks:
        return None
    metric = report.windows[marks[0].place].quality[0].metric
    limit = report.quality.limit if report.quality else None
    return charts.intervals(metric, marks, _dates(report), shown, limit)


def _outcomes(report: Report) -> Intervals | None:
    """What each version expected and what happened, from window to window; nothing where no labels tell."""
    shown = partial(shown_mean, report)
    marks = [
        Mark(
            place, known.happened, known.happened - known.margin, known.happened + known.margin, f"v{one.version}",
            _words(report, place, one.version, f"{shown(known.happened)}, expected {shown(known.expected)}"),
            known.expected,
        )
        for place, window in enumerate(report.windows)
        for one in window.quality
        if (known := one.outcome)
    ]  # fmt: skip
    return charts.intervals("what happened", marks, _dates(report), shown) if marks else None
