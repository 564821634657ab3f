"""What two models reported, beside each other: the same figures of both, and what keeps them from being compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from slipway.registry.comparison import (
    CALIBRATION,
    CHANCE,
    Comparison,
    Figures,
    GroupFigures,
    better_of,
    certainty_of,
    sentence_of,
    sign_of,
)
from slipway.registry.intervals import ChangeIntervals
from slipway.registry.names import Meaning
from slipway.registry.reported import Reported
from slipway.settings.policy import Gates, SliceGate
from slipway.settings.project import Project
from slipway.training.confusion import Confusion
from slipway.training.reliability import Reliability

Both = tuple[Reported, Reported]


def beside(
    project: Project,
    both: Both,
    how: Literal["scored", "reported"],
    *,
    remarks: list[str],
    drawn: ChangeIntervals | None = None,
    frozen: str = "",
) -> Comparison:
    """Put what was measured of two models beside each other, and say by the gates which is better."""
    sides, gates = (both[0].meaning, both[1].meaning), project.policy.gates
    curves = _reliability(both[0]), _reliability(both[1])
    metrics = _figures(both[0].measured["model"], both[1].measured["model"])
    scores = _scores(curves)
    better = better_of(gates, metrics | scores)
    intervals, from_draws = (drawn.by_figure, drawn.drawn) if drawn else ({}, "")
    return Comparison(
        first=_name(sides[0]),
        second=_name(sides[1]),
        sides=sides,
        how=how,
        sentence=sentence_of(sides, better),
        certainty=certainty_of(better, intervals, from_draws),
        rows=both[0].rows if both[0].rows == both[1].rows else None,
        frozen=frozen,
        metrics=metrics,
        better=better,
        intervals=intervals,
        drawn=from_draws,
        baseline=_figures(both[0].measured.get("baseline", {}), both[1].measured.get("baseline", {})),
        scores=scores,
        answers=_answers(both),
        groups=[group for rule in gates.slice_rules for group in _groups(gates, rule, both)],
        params=_params(both),
        reliability=curves,
        remarks=[*remarks, *_lacking(both, metrics, curves)],
    )


def doubts(both: Both) -> list[str]:
    """Why figures that were reported may not be held against each other."""
    first, second = both
    remarks = [
        f"mind: on which test rows {one.meaning.words} was measured is not known" for one in both if not one.test_rows
    ]
    if not remarks and first.test_rows != second.test_rows:
        remarks.append("mind: the two were measured on different test rows, so a change may be one of the rows")
    if first.metrics_py and second.metrics_py and first.metrics_py != second.metrics_py:
        remarks.append("mind: metrics.py differs, so figures of the same name may measure different things")
    return remarks


def _name(meaning: Meaning) -> int | str:
    return int(meaning.key) if meaning.kind == "version" else meaning.label


def _figures(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Figures]:
    """Every figure that one of both has; one that is no number is not known."""
    return {name: (_known(first.get(name)), _known(second.get(name))) for name in sorted({*first, *second})}


def _known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _reliability(one: Reported) -> Reliability | None:
    return msgspec.convert(one.measured["reliability"], Reliability) if "reliability" in one.measured else None


def _scores(curves: tuple[Reliability | None, Reliability | None]) -> dict[str, Figures]:
    first, second = ({CALIBRATION: one.error, CHANCE: one.chance} if one else {} for one in curves)
    return _figures(first, second)


def _answers(both: Both) -> dict[str, Figures]:
    """Precision and recall of each class, where both have the same classes."""
    first, second = (msgspec.convert(one.measured.get("confusion"), Confusion | None) for one in both)
    if first is None or second is None or first.classes != second.classes:
        return {}
    named = _of_classes(first), _of_classes(second)
    return {name: (named[0][name], named[1][name]) for name in named[0]}


def _of_classes(counted: Confusion) -> dict[str, float | None]:
    every = [*counted.figures(), counted.macro]
    return {f"{what} of {one.name}": getattr(one, what) for what in ("precision", "recall") for one in every}


def _groups(gates: Gates, rule: SliceGate, both: Both) -> Iterator[GroupFigures]:
    """The groups that a rule of the policy asks for, and that are large enough in one of both."""
    first, second = ({(one["column"], one["value"]): one for one in side.measured.get("slices", [])} for side in both)
    for column, value in sorted({*first, *second}):
        pair = first.get((column, value), {}), second.get((column, value), {})
        rows = pair[0].get("rows"), pair[1].get("rows")
        if column in rule.columns and max(one or 0 for one in rows) >= rule.min_rows:
            yield GroupFigures(
                column=column,
                value=value,
                metric=rule.metric,
                sign=sign_of(gates, rule),
                rows=rows,
                figures=(_in_group(pair[0], rule.metric), _in_group(pair[1], rule.metric)),
            )


def _in_group(group: Mapping[str, Any], metric: str) -> float | None:
    return _known(group.get("metrics", {}).get(metric))


def _params(both: Both) -> dict[str, tuple[str | None, str | None]]:
    """Parameters that differ, where those of both are known."""
    first, second = (one.params for one in both)
    if not first or not second:
        return {}
    pairs = {name: (first.get(name), second.get(name)) for name in sorted({*first, *second})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _lacking(
    both: Both, metrics: Mapping[str, Figures], curves: tuple[Reliability | None, Reliability | None]
) -> Iterator[str]:
    """What only one of both has, or nobody knows."""
    for place, one in enumerate(both):
        other = both[1 - place].meaning.words
        alone = [name for name, pair in metrics.items() if pair[place] is not None and pair[1 - place] is None]
        if alone:
            yield f"mind: {other} has no {', '.join(alone)}"
        if curves[place] is None:
            yield f"mind: {one.meaning.words} does not say how far its scores are from what happened"
        if not one.params:
            yield f"mind: the parameters of {one.meaning.words} are not known, as its dvc.lock is not here"
