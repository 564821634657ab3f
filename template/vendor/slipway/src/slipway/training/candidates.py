"""Candidates: what params.yaml names beside the present model, learned side by side on folds of the training rows.

A candidate is `model` with other values laid over it. As in a search, the best and the present parameters are measured
anew, on other folds and with another seed, and only that says whether the best is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from slipway.base.errors import MlopsError
from slipway.base.files import Log, write_json
from slipway.base.numbers import counted, shown
from slipway.settings.project import Project
from slipway.training import engines
from slipway.training.agreement import require_agreement
from slipway.training.candidates_result import CandidateRow, CandidatesResult, concluded
from slipway.training.exam import Exam, FoldModel, FoldOfTrial, basis, digest, reason_of
from slipway.training.search_result import Gain, best_of, gain_of
from slipway.training.search_runs import SearchRuns
from slipway.training.study import Tried

PRESENT = "present"
#: Without a block `search`, which says on how many.
FOLDS = 3


class FoldFigures(msgspec.Struct, frozen=True):
    """What was measured on a fold, and how long it took to learn; or the `reason` why it was not."""

    figures: dict[str, float] = {}
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class CandidateModel:
    """Measures a candidate on a fold. What goes wrong with one is a result, so that the others go on."""

    model: FoldModel

    def __call__(self, trial: FoldOfTrial) -> FoldFigures:
        """Return what was measured, or why it was not."""
        try:
            return FoldFigures(*self.model.figures(trial))
        except Exception as error:  # noqa: BLE001 - values that a library refuses are told, and not the end
            return FoldFigures(reason=reason_of(error))


@dataclass(frozen=True)
class _Candidate:
    name: str
    params: dict[str, Any]
    key: str


def run(project: Project, metric: str | None, log: Log) -> CandidatesResult:
    """Measure the present parameters and each candidate, and say which is the best; what was measured is kept.

    Without a `metric` it is that of the search, or the first with a gate. Raises `MlopsError` when the settings, the
    rows or the present parameters allow no comparison.
    """
    metric = require_candidates(project, metric)
    require_agreement(project, log)
    with project.only_one("candidates"), engines.opened(project, log) as engine:
        search = project.params.search
        exam = Exam.of(project, metric, search.folds if search else FOLDS, engine)
        every = _candidates(project, exam.folds, metric)
        key = digest([metric, [(one.name, one.key) for one in every]])
        facts = {"metric": metric, "folds": str(exam.folds), "candidates": ", ".join(project.params.candidates)}
        log(f"candidates: {exam.rows:,} training rows, {exam.in_words}")
        with SearchRuns(project, "candidates", key, metric, facts) as runs:
            rows, tried = list[CandidateRow](), list[Tried]()
            for number, (one, folds) in enumerate(zip(every, _measured(exam, every), strict=True)):
                tried.append(_tried(number, one, folds, metric))
                rows.append(_row(one, tried, folds, exam))
                runs.record(tried[-1], one.name if number else "", rows[-1].others | {"fit_seconds": rows[-1].seconds})
                log(f"candidates: {one.name}: {_told(exam, rows[-1])}")
            result = concluded(exam, key, rows, tried, _gain_anew(exam, every, tried, log))
            runs.conclude(result)
        return result


def require_candidates(project: Project, metric: str | None) -> str:
    """The metric to compare by; refused are candidates that are none, and a metric that has no gate."""
    params, gates = project.params, project.policy.gates.metrics
    if not params.candidates:
        raise MlopsError(
            "params.yaml names no candidates, which are compared with its model",
            "add some, with values of your own:\n\ncandidates:\n  small: {NAME: VALUE}\n  large: {NAME: VALUE}",
        )
    for name, values in params.candidates.items():
        if name == PRESENT:
            raise MlopsError(f"params.yaml, candidates.{name}: so the present model is called", "choose another name")
        if params.model | values == params.model:
            raise MlopsError(
                f"params.yaml, candidates.{name}: these are the values that model has already",
                f"give {name} another value, or leave it out",
            )
    metric = metric or (params.search.metric if params.search else next(iter(gates), "METRIC"))
    if metric not in gates:
        raise MlopsError(
            f"no gate in policy.yaml says whether {metric} is better high or low",
            f"choose from {', '.join(gates)}, or give {metric} a gate",
        )
    return metric


def _candidates(project: Project, folds: int, metric: str) -> list[_Candidate]:
    """The present parameters and the candidates, each with a digest of all that decides what it is worth.

    The metric is part of it, since a fold without a number for one may have a number for another.
    """
    params, known = project.params, (*basis(project), metric)
    models = {PRESENT: params.model, **{name: params.model | values for name, values in params.candidates.items()}}
    return [
        _Candidate(name, model, digest((*known, (params.seed, model, params.decision, folds))))
        for name, model in models.items()
    ]


def _measured(exam: Exam, every: list[_Candidate]) -> Iterator[list[FoldFigures]]:
    """The folds of each candidate, of all of them side by side; those that an earlier start has finished are read."""
    places = [exam.project.state / "candidates" / f"{one.key[:16]}.json" for one in every]
    todo = [one for one, place in zip(every, places, strict=True) if not place.is_file()]
    trials = [FoldOfTrial(one.params, fold, False, one.name) for one in todo for fold in range(exam.folds)]
    found = iter(exam.engine.map(CandidateModel(exam.model), trials))
    for one, place in zip(every, places, strict=True):
        if one in todo:
            write_json(place, [next(found) for _ in range(exam.folds)])
        yield _kept(place)


def _kept(place: Path) -> list[FoldFigures]:
    return msgspec.json.decode(place.read_bytes(), type=list[FoldFigures])


def _tried(number: int, one: _Candidate, folds: list[FoldFigures], metric: str) -> Tried:
    if reason := next((fold.reason for fold in folds if fold.reason), ""):
        if not number:
            raise MlopsError(
                f"the present parameters cannot be measured: {reason}",
                "mend model in params.yaml or in model.py, then run this again",
            )
        return Tried(number=number, params=one.params, outcome="failed", values=[], reason=reason)
    return Tried(number=number, params=one.params, outcome="measured", values=[fold.figures[metric] for fold in folds])


def _row(one: _Candidate, tried: list[Tried], folds: list[FoldFigures], exam: Exam) -> CandidateRow:
    present, mine = tried[0], tried[-1]
    changes = {name: value for name, value in one.params.items() if present.params.get(name, ...) != value}
    if mine.outcome == "failed":
        return CandidateRow(number=mine.number, name=one.name, changes=changes, reason=mine.reason)
    gain = gain_of([exam.sign * (new - now) for new, now in zip(mine.values, present.values, strict=True)])
    others = sorted(set.intersection(*(set(fold.figures) for fold in folds)) - {exam.metric})
    return CandidateRow(
        number=mine.number,
        name=one.name,
        changes=changes,
        mean=mine.mean,
        gain=gain if mine.number else None,
        others={name: float(np.mean([fold.figures[name] for fold in folds])) for name in others},
        seconds=float(np.mean([fold.seconds for fold in folds])),
    )


def _told(exam: Exam, row: CandidateRow) -> str:
    if row.mean is None:
        return f"failed ({row.reason})"
    return f"{exam.metric} {shown(row.mean)}, {row.seconds:.2f} s to learn"


def _gain_anew(exam: Exam, every: list[_Candidate], tried: list[Tried], log: Log) -> Gain | None:
    """What the best gains over the present parameters on other folds and with another seed."""
    best = every[best_of(tried, exam.sign)[0].number]
    if best.name == PRESENT:
        return None
    many = len(exam.model.anew)
    log(f"candidates: measuring {best.name} anew, on {counted(many, 'fold')}")
    trials = [FoldOfTrial(one.params, fold, True, one.name) for one in (best, every[0]) for fold in range(many)]
    values = [*exam.engine.map(exam.model, trials)]
    return gain_of([exam.sign * (new - now) for new, now in zip(values[:many], values[many:], strict=True)])
