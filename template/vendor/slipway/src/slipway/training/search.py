"""The search for better parameters: trials on folds of the training rows, which decide nothing but what to propose.

Whoever is the best of many was also lucky, by the folds and by the seed. So the best and the present parameters are
measured anew, on other folds and with another seed, and only that says whether the best is better.

The test rows are not read. The gates judge what is proposed on them, as always.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.base.numbers import counted, shown
from slipway.settings.project import Project
from slipway.settings.search import ParameterRange, SearchParams
from slipway.training import engines
from slipway.training.agreement import require_agreement
from slipway.training.engines import WorkLostError
from slipway.training.exam import Exam, basis, digest, reason_of
from slipway.training.search_result import SearchResult, best_of, conclude
from slipway.training.search_runs import SearchRuns
from slipway.training.study import Suggestion, TrialStore, Tried, require_optuna


def run(project: Project, trials: int | None, minutes: float | None, log: Log) -> SearchResult:
    """Search until so many trials have been made in all, or so many minutes have passed, and say what was found.

    Without a number it is that of `params.yaml`. A search over the same rows, ranges and code goes on where it ended.
    Raises `MlopsError` when the settings, the rows or the present parameters allow no search.
    """
    asked = require_asked(project)
    require_optuna()
    require_agreement(project, log)
    trials, minutes = trials or asked.trials, minutes or asked.minutes
    with project.only_one("search"), engines.opened(project, log) as engine:
        exam, key = Exam.of(project, asked.metric, asked.folds, engine), _key(project, asked)
        history = TrialStore(project.state / "search" / f"{key[:16]}.db", asked.ranges, exam.sign, project.params.seed)
        runs = SearchRuns(project, "search", key, asked.metric, _facts(asked))
        for one in history.tried:
            runs.record(one)
        log(f"search: {exam.rows:,} training rows, {exam.in_words}")
        if history.tried:
            log(f"search: {counted(len(history.tried) - 1, 'trial')} known from before")
        with runs:
            # A fold that cannot be asked is refused before the trials.
            now = {name: project.params.model[name] for name in asked.ranges}
            present = exam.values_anew(now)
            if not history.tried:
                _add(Tried(number=0, params=now, outcome="measured", values=[*exam.values(now)]), history, runs)
            _try(exam, history, runs, trials, None if minutes is None else time.monotonic() + 60 * minutes, log)
            result = _conclude(exam, key, history, present, log)
            runs.conclude(result)
        return result


def require_asked(project: Project) -> SearchParams:
    """The block `search` of `params.yaml`, refused where it is missing or names what is not there."""
    params, gates = project.params, project.policy.gates.metrics
    asked = params.search
    if asked is None:
        raise MlopsError(
            "params.yaml has no block search, which says where to look for better parameters",
            f"add one, with ranges of your own:\n\n{_example(params.model, next(iter(gates), 'METRIC'))}",
        )
    if asked.metric not in gates:
        raise MlopsError(
            f"params.yaml, search.metric: no gate in policy.yaml says whether {asked.metric} is better high or low",
            f"choose from {', '.join(gates)}, or give {asked.metric} a gate",
        )
    for name, values in asked.ranges.items():
        if name not in params.model:
            raise MlopsError(
                f"params.yaml, search.ranges.{name}: model has no parameter {name}",
                f"choose from {', '.join(params.model)}, or add {name} to model with its present value",
            )
        present = params.model[name]
        if isinstance(values, ParameterRange) and values.is_whole and isinstance(present, float):
            raise MlopsError(
                f"params.yaml, search.ranges.{name}: only whole numbers lie between {values.low} and {values.high} as "
                f"they are written, and the present {name} is {present}",
                f"write {float(values.low)} and {float(values.high)}",
            )
    return asked


def _try(exam: Exam, history: TrialStore, runs: SearchRuns, trials: int, end: float | None, log: Log) -> None:
    """Make trials until there are enough of them, or the time is over."""
    tried = history.tried
    log(f"search: present parameters: {exam.metric} {shown(tried[0].mean)}")
    while len(tried) <= trials and (end is None or time.monotonic() < end):
        suggestion = history.suggest()
        number = len(tried)
        found = _tried(exam, number, suggestion)
        _add(found, history, runs)
        tried.append(found)
        log(f"search: trial {number} of {trials}: {_told(exam, found)}, best {_best_told(exam, tried)}")


def _add(found: Tried, history: TrialStore, runs: SearchRuns) -> None:
    history.add(found)
    runs.record(found)


def _tried(exam: Exam, number: int, suggestion: Suggestion) -> Tried:
    """Measure what was suggested, fold by fold, for as long as there is hope."""
    params, values = suggestion.params, list[float]()
    try:
        for value in exam.values(params):
            values.append(value)
            if len(values) < exam.folds and suggestion.is_hopeless(values):
                return Tried(number=number, params=params, outcome="stopped", values=values)
    except WorkLostError:
        raise
    except Exception as error:  # noqa: BLE001 - a corner of the ranges that a library refuses is told, and not the end
        return Tried(number=number, params=params, outcome="failed", values=[], reason=reason_of(error))
    return Tried(number=number, params=params, outcome="measured", values=values)


def _told(exam: Exam, found: Tried) -> str:
    if found.outcome == "failed":
        return f"failed ({found.reason})"
    if found.outcome == "stopped":
        return f"stopped after {len(found.values)} of {exam.folds} folds"
    return f"{exam.metric} {shown(found.mean)}"


def _best_told(exam: Exam, tried: list[Tried]) -> str:
    best = best_of(tried, exam.sign)[0]
    return f"{shown(best.mean)} of {f'trial {best.number}' if best.number else 'the present parameters'}"


def _conclude(exam: Exam, key: str, history: TrialStore, present: list[float], log: Log) -> SearchResult:
    tried = history.tried
    ranked = best_of(tried, exam.sign)
    anew = None
    if ranked[0].params != tried[0].params:
        log(f"search: measuring trial {ranked[0].number} anew, on {len(exam.model.anew)} folds")
        anew = exam.values_anew(ranked[0].params), present
    return conclude(
        exam.project.tool.model, exam.metric, exam.sign, tried, ranked, anew,
        importance=history.importance(), key=key, folds=exam.in_words, rows=exam.rows,
    )  # fmt: skip


def _key(project: Project, asked: SearchParams) -> str:
    """Digest of all that decides what a trial is worth: another one is another search."""
    params = project.params
    settings = (params.seed, params.model, params.decision, asked.ranges, asked.metric, asked.folds)
    return digest((*basis(project), settings, project.policy.gates.metrics[asked.metric].sign))


def _facts(asked: SearchParams) -> dict[str, str]:
    """What the run of the search says of it."""
    facts = {f"ranges.{name}": msgspec.json.encode(values).decode() for name, values in asked.ranges.items()}
    return facts | {"metric": asked.metric, "folds": str(asked.folds)}


def _example(model: Mapping[str, Any], metric: str) -> str:
    """A block `search` around the present parameters."""
    lines = ["search:", f"  metric: {metric}", "  ranges:"]
    for name, value in model.items():
        if isinstance(value, bool):
            lines.append(f"    {name}: [true, false]")
        elif isinstance(value, int) and value > 1:
            lines.append(f"    {name}: {{low: {value // 2}, high: {2 * value}}}")
        elif isinstance(value, float) and value > 0:
            high = min(2 * value, 1.0) if value < 1 else 2 * value
            lines.append(f"    {name}: {{low: {value / 2:.4}, high: {high:.4}}}")
    return "\n".join(lines if len(lines) > 3 else [*lines, "    NAME: {low: 1, high: 10}"])
