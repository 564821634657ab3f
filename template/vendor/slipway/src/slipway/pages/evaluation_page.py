"""The last evaluation as one HTML page: what the gates say, whether scores mean what they say, and each group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from slipway.base.numbers import shown
from slipway.pages.axis import extent, levels_of
from slipway.pages.lines import Curve, Curves, curves
from slipway.pages.render import render, write
from slipway.settings.policy import MEAN_ANSWER, SHARE_OF
from slipway.settings.project import Project
from slipway.training.confusion import Confusion
from slipway.training.gates import REPORT, GateResult, costs_in_words
from slipway.training.reliability import Reliability, ScoreBand

PAGE = "reports/evaluation.html"


def write_evaluation_page(project: Project, checks: Sequence[GateResult]) -> Path:
    """Write the page into the project; `checks` are what the gates say of this evaluation."""
    return write(evaluation_page(project, checks), project.root / PAGE)


def evaluation_page(project: Project, checks: Sequence[GateResult]) -> str:
    """Return the page; equal figures give equal pages."""
    measured = msgspec.json.decode((project.root / REPORT).read_bytes())
    scores = msgspec.convert(measured["reliability"], Reliability)
    rules = project.policy.gates.slice_rules
    answered = msgspec.convert(measured.get("confusion"), Confusion | None)
    each = [SHARE_OF + name for name in answered.classes] if answered else [MEAN_ANSWER]
    named = list(dict.fromkeys([*(rule.metric for rule in rules), *each]))
    return render(
        "evaluation",
        model=project.tool.model,
        rows=measured["rows"],
        checks=checks,
        failed=sum(not check.passed for check in checks),
        metrics=[
            (name, shown(value), _shown(measured["baseline"].get(name))) for name, value in measured["model"].items()
        ],
        costs=costs_in_words(project),
        answered=answered,
        scores=scores,
        diagram=_diagram(scores.bands),
        by_class=_by_class(measured.get("reliability_by_class", {}), answered.classes if answered else []),
        named=named,
        groups=[_group(one, named) for one in measured["slices"]],
    )


def _shown(value: float | None) -> str:
    return "" if value is None else shown(value)


def _group(one: dict[str, Any], named: Sequence[str]) -> tuple[str, int, list[str]]:
    return f"{one['column']} = {one['value']}", one["rows"], [_shown(one["metrics"].get(name)) for name in named]


def _by_class(measured: dict[str, Any], classes: Sequence[str]) -> list[tuple[str, Reliability, Curves]]:
    """The reliability of each class's probability, and its diagram, in the order of the classes."""
    found = msgspec.convert(measured, dict[str, Reliability])
    title = "What happened by bands of the probability of"
    return [(name, found[name], _diagram(found[name].bands, f"{title} {name}")) for name in classes if name in found]


def _diagram(bands: Sequence[ScoreBand], title: str = "What happened by bands of scores") -> Curves:
    """What happened over what was expected, and the diagonal, on which both are the same."""
    points: Curve = [(band.expected, band.happened) for band in bands]
    ends = [min(map(min, points)), max(map(max, points))]
    words = "; ".join(f"{shown(one)} expected, {shown(other)} happened" for one, other in points)
    return curves(
        [("same", [(end, end) for end in ends]), ("main", points), *(("dot", [point]) for point in points)],
        [
            (level, f"{level:g}")
            for level in levels_of(*extent([x for x, _ in points]))
            if points[0][0] <= level <= points[-1][0]
        ],
        f"{title}: {words}",
    )
