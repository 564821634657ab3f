"""A comparison of two models as one HTML page: which is better, by how much, and where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from slipway.base.numbers import shown
from slipway.pages.axis import extent, levels_of
from slipway.pages.charts import Figure, Spans, spans
from slipway.pages.lines import Curve, Curves, curves
from slipway.pages.render import render, write
from slipway.registry.comparison import Comparison, Figures, GroupFigures, change_of
from slipway.registry.comparison_text import source_of
from slipway.settings.project import Project
from slipway.training.reliability import Reliability

PAGE = "reports/compare.html"

#: The class that colours what is said of a change.
_TONES = {"better": "ok", "worse": "act"}

#: A figure of both, the change, its interval, and whether it is better: all in words.
Line = tuple[str, str, str, str, str, str]


def write_compare_page(project: Project, found: Comparison) -> Path:
    """Write the page into the project."""
    return write(compare_page(project, found), project.root / PAGE)


def compare_page(project: Project, found: Comparison) -> str:
    """Return the page; equal comparisons give equal pages."""
    first, second = found.reliability
    return render(
        "compare",
        model=project.tool.model,
        labels=[one.label for one in found.sides],
        words=[one.words for one in found.sides],
        source=source_of(found),
        sentence=found.sentence,
        certainty=found.certainty,
        remarks=found.remarks,
        drawn=found.drawn,
        changes=_changes(found),
        metrics=[_line(found, name, pair) for name, pair in (found.metrics | found.scores).items()],
        others=[
            (title, [_line(found, name, pair)[:4] for name, pair in figures.items()])
            for title, figures in (("Which class was answered", found.answers), ("Baselines", found.baseline))
            if figures
        ],
        diagram=_diagram(first, second) if first and second else None,
        groups=[_groups(metric, [*groups]) for metric, groups in groupby(found.groups, lambda one: one.metric)],
        params=[(name, pair[0] or "none", pair[1] or "none") for name, pair in found.params.items()],
    )


def _line(found: Comparison, name: str, pair: Figures) -> Line:
    change, (low, high) = change_of(pair), found.intervals.get(name, (None, None))
    between = "" if low is None or high is None else f"{shown(low, '+')} to {shown(high, '+')}"
    by_chance = "" if change is None else shown(change, "+")
    return name, _shown(pair[0]), _shown(pair[1]), by_chance, between, found.said_of(name)


def _shown(value: float | None) -> str:
    return "none" if value is None else shown(value)


def _changes(found: Comparison) -> Spans | None:
    """The change of each metric with its interval, in percent of the first figure: so all have one scale."""
    figures = []
    for name, (first, second) in found.metrics.items():
        if not first or second is None:
            continue  # nothing is a part of 0
        change, unit = second - first, 100 / abs(first)
        low, high = found.intervals.get(name, (change, change))
        said = found.said_of(name)
        words = f"{change * unit:+.1f} % {said}".rstrip() if change else "the same"
        tone = _TONES.get(said, "")
        figures.append(Figure(name, change * unit, low * unit, high * unit, words, expected=0, tone=tone))
    return spans("change in percent", figures, lambda value: f"{value:+g} %" if value else "0")


def _groups(metric: str, groups: Sequence[GroupFigures]) -> tuple[str, Spans | None, list[str]]:
    """The change of a metric in each group that both have, and the groups that only one of both has."""
    figures, lacking = [], []
    for one in groups:
        name, change = f"{one.column} = {one.value}", change_of(one.figures)
        if change is None:
            lacking.append(name)
            continue
        tone = "" if not one.sign or not change else "ok" if change * one.sign > 0 else "act"
        said = {"ok": " better", "act": " worse"}.get(tone, "")
        words = f"{_shown(one.figures[0])} → {_shown(one.figures[1])}{said}"
        figures.append(Figure(name, change, change, change, words, expected=0, tone=tone))
    return metric, spans(f"change of {metric}", figures, lambda value: f"{value:+g}" if value else "0"), lacking


def _diagram(first: Reliability, second: Reliability) -> Curves:
    """What happened over what was expected, of both, and the diagonal, on which both are the same."""
    drawn: list[Curve] = [[(band.expected, band.happened) for band in one.bands] for one in (first, second)]
    points = [point for curve in drawn for point in curve]
    ends = [min(map(min, points)), max(map(max, points))]
    left, right = extent([x for x, _ in points])
    words = [
        "; ".join(f"{shown(expected)} expected, {shown(happened)} happened" for expected, happened in curve)
        for curve in drawn
    ]
    dots = [(kind, [point]) for kind, curve in zip(("dot first", "dot"), drawn, strict=True) for point in curve]
    return curves(
        [("same", [(end, end) for end in ends]), ("main first", drawn[0]), ("main", drawn[1]), *dots],
        [(level, f"{level:g}") for level in levels_of(left, right) if left <= level <= right],
        f"What happened by bands of scores, of the first: {words[0]}. Of the second: {words[1]}",
    )
