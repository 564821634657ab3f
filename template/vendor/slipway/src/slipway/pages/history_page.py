"""All windows of an environment as one HTML page: the trend of quality, of each group and of each column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from slipway.base.numbers import counted, shown
from slipway.monitoring.certainty import is_apart
from slipway.monitoring.drift import Scale
from slipway.monitoring.report import Report, heading, shown_mean
from slipway.monitoring.windows import VersionQuality, Window
from slipway.pages import charts
from slipway.pages.charts import Intervals, Mark
from slipway.pages.lines import Trend, trend
from slipway.pages.render import render, write
from slipway.pages.windows_view import ASKING, anchors, column_anchors, view, with_interval

#: As many trends are open; the others are folded.
MOST_OPEN = 12


@dataclass(frozen=True)
class TrendView:
    """The trend of a column or of a group, where it stands, and what it shows in a sentence."""

    name: str
    anchor: str
    is_found: bool
    words: str
    chart: Trend


def write_history_page(report: Report, root: Path) -> None:
    """Write the page into the project, where there are windows to tell of."""
    if report.windows:
        write(history_page(report), root / report.history)


def history_page(report: Report) -> str:
    """Return the page; equal reports give equal pages."""
    windows = report.windows[::-1]
    views = [view(report, window) for window in windows]
    scales = list(dict.fromkeys(scale for window in windows for scale in window.scales))
    worst_first = {column.name: place for place, column in enumerate(report.columns)}
    trends = sorted(_columns(report, scales), key=lambda one: worst_first.get(one.name, len(worst_first)))
    return render(
        "history",
        title=f"{report.model} in {report.environment}, all windows",
        heading=heading(report),
        page=Path(report.page).name,
        windows=windows,
        views=views,
        odd=sum(one.verdict in ASKING for one in views),
        days=f"{(windows[0].until - windows[0].since) / timedelta(days=1):g}",
        moved=[one for one in trends if one.is_found],
        quiet=[one for one in trends if not one.is_found],
        groups=[*_groups(report)],
        most_open=MOST_OPEN,
        scales=scales,
        words=" or ".join(scale.words for scale in scales).capitalize() or "How far each column has moved",
        metric=next((one.metric for window in report.windows for one in window.quality), ""),
        quality=_quality(report),
        outcomes=_outcomes(report),
    )


def _words(report: Report, place: int, version: int, figure: str) -> str:
    return f"{report.windows[place].since:%d %b %Y}, version {version}: {figure}"


def _quality(report: Report) -> Intervals | None:
    """The metric of each version from window to window, with the limit; unknown is a gap."""
    marks = [
        Mark(
            place, one.value, one.low, one.high, f"v{one.version}",
            _words(report, place, one.version, _quality_in_words(one)), _expected(one),
            "act" if one.is_worse else "",
        )
        for place, window in enumerate(report.windows)
        for one in window.quality
        if one.value is not None and one.low is not None and one.high is not None
    ]  # fmt: skip
    if not marks:
        return None
    metric = report.windows[marks[0].place].quality[0].metric
    worse = sum(any(one.is_worse for one in window.quality) for window in report.windows)
    told = f"{metric} by window, worse than its limit in {worse} of {counted(len(report.windows), 'window')}"
    limit = report.quality.limit if report.quality else None
    return charts.intervals(f"{told}; {marks[-1].words}", marks, _begins(report), shown, limit)


def _quality_in_words(one: VersionQuality) -> str:
    known = one.estimate
    expected = f", by the scores {with_interval(known.value, known.low, known.high)}" if known else ""
    return f"{one.metric} {with_interval(one.value or 0, one.low, one.high)}{expected}"


def _expected(one: VersionQuality) -> tuple[float, float, float] | None:
    return (one.estimate.value, one.estimate.low, one.estimate.high) if one.estimate else None


def _outcomes(report: Report) -> Intervals | None:
    """What each version expected and what happened, from window to window; nothing where no labels tell."""
    mean, chance = partial(shown_mean, report), report.limits.p_value
    marks = [
        Mark(
            place, known.happened, known.happened - known.margin(chance), known.happened + known.margin(chance),
            f"v{one.version}",
            _words(report, place, one.version, f"{mean(known.happened)} happened, {mean(known.expected)} expected"),
            (known.expected,) * 3, "watch" if is_apart(known, report.limits) else "",
        )
        for place, window in enumerate(report.windows)
        for one in window.quality
        if (known := one.outcome)
    ]  # fmt: skip
    if not marks:
        return None
    return charts.intervals(f"What happened by window; {marks[-1].words}", marks, _begins(report), mean)


def _begins(report: Report) -> list[datetime]:
    return [window.since for window in report.windows]


def _columns(report: Report, scales: Sequence[Scale]) -> Iterator[TrendView]:
    """The trend of each column with the limits of its test, and where it was found to have moved."""
    known = {column.name: column.scale for column in report.columns}
    for name, anchor in column_anchors(report).items():
        scale = known.get(name) or next(iter(scales))
        sizes = [window.sizes.get(name) for window in report.windows]
        found = [window.moved.get(name) for window in report.windows]
        many = sum(one is not None for one in found)
        latest = next((size for size in reversed(sizes) if size is not None), 0.0)
        limits = [("watch", scale.watch), ("act", scale.act)]
        untold = sum(name in window.untold for window in report.windows)
        words = f"moved in {many} of {counted(len(found), 'window')}{_run(report.windows, name)}, latest {latest:.2f}"
        words += f"; cannot be told from chance in {untold:,}" if untold else ""
        beyond = sum(size is not None and size >= scale.watch for size in sizes) - many - untold
        words += f"; {counted(beyond, 'window')} beyond a limit by chance" if beyond > 0 else ""
        drawn = trend(
            f"{name}, {scale.words}: {words}; look from {scale.watch:g} on, act from {scale.act:g} on",
            sizes, _begins(report), limits, _tones(report, name), least=0,
        )  # fmt: skip
        yield TrendView(name, anchor, any(found[-report.limits.windows.last :]), words, drawn)


def _tones(report: Report, name: str) -> list[str]:
    """The class that marks a column in each window, empty for none."""
    untold = ("insufficient" if name in window.untold else "" for window in report.windows)
    moved = (window.moved.get(name) for window in report.windows)
    return [one.value if one else other for one, other in zip(moved, untold, strict=True)]


def _run(windows: Sequence[Window], name: str) -> str:
    """Since when a column has moved without a break, if it has now."""
    first = None
    for window in reversed(windows):
        if name not in window.moved:
            break
        first = window.since
    return f", without a break since {first:%d %b %Y}" if first else ""


def _groups(report: Report) -> Iterator[TrendView]:
    """The trend of each group's metric, of the version that answered most, with the limit of the whole."""
    measured = [window.quality[0] if window.quality else None for window in report.windows]
    names = anchors("group", (name for one in measured if one for name in one.groups))
    limit = next((one.limit for one in reversed(measured) if one and one.limit is not None), None)
    for name, anchor in names.items():
        figures = [one.groups.get(name) if one else None for one in measured]
        latest = next((figure for figure in reversed(figures) if figure is not None), 0.0)
        words = f"latest {shown(latest)}" + (f", limit of the whole {shown(limit)}" if limit is not None else "")
        limits = [("act", limit)] if limit is not None else []
        drawn = trend(f"{name} by window: {words}", figures, _begins(report), limits, [""] * len(figures))
        yield TrendView(name, anchor, False, words, drawn)
