"""A monitor's report as one HTML page: what, since when, how sure, what to do; then what that rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from slipway.base.numbers import counted, shown
from slipway.monitoring.bands import Band
from slipway.monitoring.bins import percent
from slipway.monitoring.certainty import Certainty, interval, shown_chance
from slipway.monitoring.checks import CHECKS, Finding
from slipway.monitoring.concept import ConceptState
from slipway.monitoring.drift import ColumnDrift, Verdict
from slipway.monitoring.estimate import EstimateState
from slipway.monitoring.quality import QualityState
from slipway.monitoring.report import (
    Report,
    age_line,
    basis,
    deleted_lines,
    heading,
    left_out_lines,
    refusal_line,
    shown_mean,
    shown_size,
)
from slipway.monitoring.skew import SkewState
from slipway.pages import charts
from slipway.pages.charts import Bars, Figure, Spans
from slipway.pages.render import render, write
from slipway.pages.runbook import RunbookLink, section
from slipway.pages.windows_view import ASKING, anchor, column_anchors, odd_ones, view, with_interval

#: What each state of what is judged is worth.
VERDICTS = {
    ConceptState.OK: Verdict.OK,
    ConceptState.MOVED: Verdict.ACT,
    ConceptState.UNKNOWN: Verdict.INSUFFICIENT_DATA,
    QualityState.OK: Verdict.OK,
    QualityState.BROKEN: Verdict.ACT,
    QualityState.UNKNOWN: Verdict.INSUFFICIENT_DATA,
    EstimateState.OK: Verdict.OK,
    EstimateState.WORSE: Verdict.WATCH,
    EstimateState.PARTED: Verdict.WATCH,
    EstimateState.UNKNOWN: Verdict.INSUFFICIENT_DATA,
    SkewState.OK: Verdict.OK,
    SkewState.SKEWED: Verdict.ACT,
    SkewState.UNKNOWN: Verdict.INSUFFICIENT_DATA,
}
#: What an operator does about a verdict, and what checks are called.
MEANS = {
    Verdict.ACT: "something should be done now",
    Verdict.WATCH: "worth a look",
    Verdict.INSUFFICIENT_DATA: "too little is known",
    Verdict.OK: "nothing to do",
}
TITLES = {
    "drift": "Columns", "domain": "All columns together", "age": "Age of the champion",
    "concept": "Expected and happened", "estimate": "Quality by the scores", "refused": "Refused by the contract",
    "skew": "Training and serving", "quality": "Quality by labels",
}  # fmt: skip
#: Columns that are quiet are folded where there are more than this many.
MOST_OPEN = 12


@dataclass(frozen=True)
class FindingView:
    """A finding, since when and how sure, where its window is and where a person reads on."""

    title: str
    finding: Finding
    certainty: Certainty
    window: str
    runbook: RunbookLink | None


@dataclass(frozen=True)
class ColumnView:
    """A column with what its verdict rests on."""

    column: ColumnDrift
    size: str
    chance: str
    why: str
    trend: str
    chart: Bars | None


def write_monitor_page(report: Report, root: Path) -> Path:
    """Write the page into the project."""
    return write(monitor_page(report, root), root / report.page)


def monitor_page(report: Report, root: Path | None = None) -> str:
    """Return the page; equal reports give equal pages. In a project, whose `root` is given, it links the runbook."""
    concept = report.concept
    findings = [
        _finding(report, finding, sure, root)
        for finding, sure in zip_longest(report.findings, report.certainties)
        if finding and sure
    ]
    return render(
        "monitor",
        report=report,
        heading=heading(report),
        basis=basis(report),
        age=age_line(report).capitalize(),
        answer=findings[0],
        means=MEANS[report.verdict],
        others=[one for one in findings[1:] if one.finding.verdict is not Verdict.OK],
        history=Path(report.history).name,
        asked=[*_asked(report)],
        odd=[] if report.verdict in ASKING else odd_ones(report),
        quality=[
            (name, VERDICTS[found.state], found.sentence)
            for name, found in (("By labels", report.quality), ("By the scores", report.estimate))
            if found
        ],
        windows=[view(report, window) for window in report.windows[-report.limits.windows.last :][::-1]],
        quality_chart=_quality_chart(report),
        concept_verdict=VERDICTS[concept.state] if concept else None,
        bands=[
            (what, _bands_chart(report, what, several, bands), _bands(report, bands))
            for what, several, bands in (
                ("score", "bands of scores", concept.bands),
                ("class", "classes", concept.classes),
            )
            if bands
        ]
        if concept
        else [],
        skew=(VERDICTS[report.skew.state], report.skew) if report.skew else None,
        groups=[*_groups(report)],
        counts=[*_counts(report)],
        scales=[
            (scale, ", ".join(column.name for column in report.columns if column.scale == scale))
            for scale in dict.fromkeys(column.scale for column in report.columns)
        ],
        chance=percent(report.limits.p_value),
    )


def _finding(report: Report, finding: Finding, sure: Certainty, root: Path | None) -> FindingView:
    begins = next((window for window in report.windows if sure.since == window.since), None)
    return FindingView(
        title=TITLES.get(finding.check, finding.check),
        finding=finding,
        certainty=sure,
        window=anchor(begins) if begins else "",
        runbook=section(root, finding) if root else None,
    )


def _asked(report: Report) -> Iterator[tuple[str, Verdict]]:
    """Everything that was asked, with what came of it: what is not known is seen beside what is well."""
    yield TITLES["drift"], report.drift
    states = (
        ("quality", report.quality),
        ("estimate", report.estimate),
        ("concept", report.concept),
        ("skew", report.skew),
    )
    for check, found in states:
        if found:
            yield TITLES[check], VERDICTS[found.state]
    if report.domain:
        yield TITLES["domain"], report.domain.verdict
    yield from ((one.check, one.verdict) for one in report.findings if one.check not in CHECKS)


def _groups(report: Report) -> Iterator[tuple[str, bool, list[ColumnView]]]:
    """The columns: those that moved, which are open, and those that cannot be told or are quiet, folded."""
    trends = column_anchors(report)
    moved, unknown, quiet = (
        [_column(report, one, trends) for one in report.columns if one.verdict in verdicts]
        for verdicts in (ASKING, (Verdict.INSUFFICIENT_DATA,), (Verdict.OK,))
    )
    is_short = len(report.columns) <= MOST_OPEN
    for words, is_open, columns in (
        ("Moved", True, moved), ("Cannot be told from chance", is_short, unknown), ("Quiet", is_short, quiet)
    ):  # fmt: skip
        if columns:
            yield f"{words}: {counted(len(columns), 'column')}", is_open, columns


def _column(report: Report, column: ColumnDrift, trends: dict[str, str]) -> ColumnView:
    return ColumnView(
        column=column,
        size=shown_size(report, column),
        chance="-" if column.verdict is Verdict.INSUFFICIENT_DATA else shown_chance(column.p_value),
        why=column.sentence.removeprefix(f"{column.name} "),
        trend=trends.get(column.name, ""),
        chart=charts.bars(f"{column.sentence}. Share of rows", column.bins, percent),
    )


def _quality_chart(report: Report) -> Spans | None:
    """The metric by scores alone and by labels beside its limit, for the latest windows."""
    found = report.estimate
    metric = report.quality.metric if report.quality else found.metric if found else ""
    limit = report.quality.limit if report.quality else None
    figures = []
    if found and found.latest:
        low, high = interval(found.latest, report.limits)
        words = with_interval(found.latest.value, low, high)
        tone = "act scores" if found.state is EstimateState.WORSE else "scores"
        figures.append(Figure("by the scores, now", found.latest.value, low, high, words, limit, tone))
    for window in report.windows[-report.limits.windows.last :][::-1]:
        for known in window.quality:
            if known.value is not None and known.low is not None and known.high is not None:
                label = f"by labels, {window.since:%d %b %Y}, v{known.version}"
                words = with_interval(known.value, known.low, known.high)
                tone = "act" if known.is_worse else ""
                figures.append(Figure(label, known.value, known.low, known.high, words, known.limit, tone))
    beyond = f", limit {shown(limit)}" if limit is not None else ""
    return charts.spans(f"{metric}{beyond}", figures, shown)


def _bands_chart(report: Report, what: str, several: str, bands: list[Band]) -> Spans | None:
    """What happened by bands of scores or by class, as far as chance goes, beside what was expected."""
    mean = partial(shown_mean, report)
    figures = [
        Figure(
            band.label, band.now, band.now - (band.margin or 0), band.now + (band.margin or 0),
            f"{mean(band.now)}, {mean(band.reference)} expected", band.reference, "act" if band.moved else "",
        )
        for band in bands
    ]  # fmt: skip
    moved = sum(band.moved for band in bands)
    told = f"{moved} of {len(figures)} {several} are not as expected" if moved else f"no {several} have moved"
    return charts.spans(f"What happened by {what}: {told}", figures, mean)


def _bands(report: Report, bands: list[Band]) -> list[tuple[Band, str, str, str, str, Verdict, str]]:
    """Each band in words, with the reason for its verdict."""
    mean = partial(shown_mean, report)
    return [
        (
            band, mean(band.reference), mean(band.now),
            "" if band.margin is None else f"{mean(band.now - band.margin)} to {mean(band.now + band.margin)}",
            "" if band.p_value is None else shown_chance(band.p_value),
            Verdict.ACT if band.moved else Verdict.OK, _why_of(band, report),
        )
        for band in bands
    ]  # fmt: skip


def _why_of(band: Band, report: Report) -> str:
    if band.moved:
        return "apart by more than is accepted and more than chance explains"
    if band.p_value is None:
        return "not judged"
    if abs(band.now - band.reference) < (report.limits.max_bias or 0):
        return "apart by less than monitor.max_bias"
    return "chance explains as much"


def _counts(report: Report) -> Iterator[str]:
    """What was counted and what was not, a sentence each."""
    yield f"{counted(report.predictions, 'prediction')} of the champion judged"
    if report.other_versions:
        yield f"answered by other versions, and not judged here: {counted(report.other_versions, 'prediction')}"
    if report.earlier:
        yield f"before this window, and judged in windows of their own: {counted(report.earlier, 'prediction')}"
    yield from left_out_lines(report)
    yield from (f"refused by the contract: {refusal_line(one)}" for one in report.refused)
    yield from (f"not compared: {name}, {reason}" for name, reason in report.left_out.items())
    yield from deleted_lines(report)
