"""A monitor's report as one HTML page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from slipway.monitoring.bins import percent
from slipway.monitoring.concept import ConceptState
from slipway.monitoring.drift import Verdict
from slipway.monitoring.report import (
    Report,
    age_line,
    basis,
    deleted_lines,
    heading,
    left_out_lines,
    other_findings,
    refusal_line,
    shown_mean,
    shown_size,
)
from slipway.pages import charts
from slipway.pages.render import render, write

CONCEPT_VERDICTS = {
    ConceptState.OK: Verdict.OK,
    ConceptState.MOVED: Verdict.ACT,
    ConceptState.UNKNOWN: Verdict.INSUFFICIENT_DATA,
}


def write_monitor_page(report: Report, root: Path) -> Path:
    """Write the page into the project."""
    return write(monitor_page(report), root / report.page)


def monitor_page(report: Report) -> str:
    """Return the page; equal reports give equal pages."""
    concept = report.concept
    bands = concept.bands if concept else []
    return render(
        "monitor",
        report=report,
        heading=heading(report),
        basis=basis(report),
        remarks=_remarks(report),
        history=Path(report.history).name,
        refused=[refusal_line(one) for one in report.refused],
        concept_verdict=CONCEPT_VERDICTS[concept.state] if concept else None,
        concept_chart=charts.bars("what was expected and what happened, by score", bands, partial(shown_mean, report)),
        columns=[
            (column, shown_size(column), charts.bars(f"{column.name}, share of rows", column.bins, percent))
            for column in report.columns
        ],
        scales=[
            (scale, ", ".join(column.name for column in report.columns if column.scale == scale))
            for scale in dict.fromkeys(column.scale for column in report.columns)
        ],
        chance=percent(report.limits.p_value),
        left_out="; ".join(f"{name}, {reason}" for name, reason in report.left_out.items()),
    )


def _remarks(report: Report) -> list[str]:
    """What stands in a line each below the answer."""
    lines = [age_line(report).capitalize()]
    if report.quality:
        lines.append(f"Quality {report.quality.state.value}: {report.quality.sentence}")
    if report.estimate:
        lines.append(f"Estimate {report.estimate.state.value}: {report.estimate.sentence}")
    if report.skew:
        lines.append(f"Skew {report.skew.state.value}: {report.skew.sentence}")
    return [line for line in [*lines, *other_findings(report), *left_out_lines(report), *deleted_lines(report)] if line]
