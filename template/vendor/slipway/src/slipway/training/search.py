"""The search for better parameters: trials on folds of the training rows, which decide nothing but what to propose.

Whoever is the best of many was also lucky, by the folds and by the seed. So the best and the present parameters are
measured anew, on other folds and with another seed, and only that says whether the best is better.

The test rows are not read. The gates judge what is proposed on them, as always.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.base.files import Log, sha256
from slipway.base.numbers import counted, shown
from slipway.contract.columns import Column
from slipway.kinds.base import Matrix
from slipway.settings.project import Project
from slipway.settings.search import ParameterRange, SearchParams
from slipway.team import CONTRACT
from slipway.training import engines, team_code
from slipway.training.agreement import require_agreement
from slipway.training.engines import Mapper, WorkLostError
from slipway.training.folds import Fold, folds_of
from slipway.training.search_result import SearchResult, conclude
from slipway.training.search_runs import SearchRuns
from slipway.training.study import Suggestion, TrialStore, Tried, require_optuna
from slipway.training.train import learned_from

TRAIN = "data/train.parquet"


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
        exam = Exam.of(project, asked, engine)
        history = TrialStore(
            project.state / "search" / f"{exam.key[:16]}.db", asked.ranges, exam.sign, exam.project.params.seed
        )
        runs = SearchRuns(project, exam.key, asked, history.tried)
        log(f"search: {exam.rows:,} training rows, {counted(asked.folds, 'fold')} {by()}")
        if history.tried:
            log(f"search: {counted(len(history.tried) - 1, 'trial')} known from before")
        with runs:
            # A fold that cannot be asked is refused before the trials.
            present = exam.values_anew(exam.present)
            _try(exam, history, runs, trials, None if minutes is None else time.monotonic() + 60 * minutes, log)
            result = _conclude(exam, history, present, log)
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


def by() -> str:
    """How rows fall into folds."""
    return f"by {CONTRACT.time}" if CONTRACT.time else "by digest of their key"


class FoldOfTrial(NamedTuple):
    """Parameters, and the fold that measures them; `anew` for the other folds, with another seed."""

    params: Mapping[str, Any]
    number: int
    anew: bool

    def __str__(self) -> str:
        return f"fold {self.number + 1} of {dict(self.params)}"


@dataclass(frozen=True)
class FoldModel:
    """Fits the team's model on what a fold learns from, and measures it on the rest."""

    project: Project
    metric: str
    names: list[str]
    matrix: Matrix
    truth: Column
    folds: list[Fold]
    anew: list[Fold]

    def __call__(self, trial: FoldOfTrial) -> float:
        """Return the value of the metric. Raises `MlopsError` where a fold has none."""
        fold = (self.anew if trial.anew else self.folds)[trial.number]
        seed = self.project.params.seed + 1 if trial.anew else None
        estimator = team_code.model_of(self.project, trial.params, seed)
        kind = kinds.of(estimator, team.classes())
        learned = self.truth[fold.learned]
        if reason := kind.unlearnable(learned):
            raise MlopsError(
                f"a fold leaves {counted(len(learned), 'row')} to learn from, of which target in model.py {reason}",
                "set search.folds in params.yaml lower, or learn from more rows",
            )
        team_code.fit("model", estimator, self.names, self.matrix[fold.learned], learned)
        scores = kind.predicted(estimator, self.matrix[fold.asked])
        threshold = kind.threshold(self.project.params.decision.wanted)
        value = team.metrics(self.truth[fold.asked], scores, threshold).get(self.metric)
        if value is None or not isfinite(value):
            raise MlopsError(
                f"metrics.py gives no number for {self.metric} of the {int(fold.asked.sum()):,} rows of a fold",
                "set search.folds in params.yaml lower, or search by another metric",
            )
        return float(value)


@dataclass(frozen=True)
class Exam:
    """What every trial is asked: the training rows in folds, and the metric. `key` is that of the whole search."""

    project: Project
    sign: int
    key: str
    model: FoldModel
    engine: Mapper

    @classmethod
    def of(cls, project: Project, asked: SearchParams, engine: Mapper) -> Exam:
        """Read the training rows, and compute their features once: a row's features depend on that row alone."""
        path = project.root / TRAIN
        if not path.is_file():
            raise MlopsError("there are no training rows in this checkout", "mlops pipeline (or `dvc pull`)")
        _require_current(project, path)
        sign = project.policy.gates.metrics[asked.metric].sign
        rows = pl.read_parquet(path)
        rows = rows.drop_nulls(CONTRACT.time) if CONTRACT.time else rows
        learned = learned_from(rows)
        folds, anew = (folds_of(rows, count) for count in (asked.folds, _anew(asked.folds)))
        model = FoldModel(project, asked.metric, *learned, folds, anew)
        return cls(project, sign, _key(project, asked, path), model, engine)

    @property
    def metric(self) -> str:
        """What trials are measured by."""
        return self.model.metric

    @property
    def rows(self) -> int:
        """How many training rows there are."""
        return len(self.model.truth)

    @property
    def folds(self) -> int:
        """On how many folds a trial is measured."""
        return len(self.model.folds)

    @property
    def present(self) -> dict[str, Any]:
        """The present values of what is searched."""
        search, model = self.project.params.search, self.project.params.model
        return {name: model[name] for name in (search.ranges if search else {})}

    def values(self, params: Mapping[str, Any]) -> Iterator[float]:
        """Measure parameters fold by fold; an engine may be folds ahead of who asks."""
        return self.engine.map(self.model, [FoldOfTrial(params, one, False) for one in range(len(self.model.folds))])

    def values_anew(self, params: Mapping[str, Any]) -> list[float]:
        """Measure parameters on other folds and with another seed than those by which they were chosen."""
        folds = range(len(self.model.anew))
        return [*self.engine.map(self.model, [FoldOfTrial(params, one, True) for one in folds])]


def _try(exam: Exam, history: TrialStore, runs: SearchRuns, trials: int, end: float | None, log: Log) -> None:
    """Make trials until there are enough of them, or the time is over; a present model that fails ends it all."""
    tried = history.tried
    if not tried:
        values = [*exam.values(exam.present)]
        tried.append(Tried(number=0, params=exam.present, outcome="measured", values=values))
        history.add(tried[0])
        runs.record(tried[0])
    log(f"search: present parameters: {exam.metric} {shown(tried[0].mean)}")
    while len(tried) <= trials and (end is None or time.monotonic() < end):
        suggestion = history.suggest()
        number = len(tried)
        found = _tried(exam, number, suggestion)
        history.add(found)
        runs.record(found)
        tried.append(found)
        log(f"search: trial {number} of {trials}: {_told(exam, found)}, best {_best_told(exam, tried)}")


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
        reason = error.problem if isinstance(error, MlopsError) else f"{type(error).__name__}: {error}"
        return Tried(number=number, params=params, outcome="failed", values=[], reason=reason.splitlines()[0][:300])
    return Tried(number=number, params=params, outcome="measured", values=values)


def _told(exam: Exam, found: Tried) -> str:
    if found.outcome == "failed":
        return f"failed ({found.reason})"
    if found.outcome == "stopped":
        return f"stopped after {len(found.values)} of {exam.folds} folds"
    return f"{exam.metric} {shown(found.mean)}"


def _anew(folds: int) -> int:
    """How many folds measure the best and the present anew: more tell more, and none of their borders is the same."""
    return 2 * folds + 1


def best_of(tried: list[Tried], sign: int) -> list[Tried]:
    """What was measured on all folds, the best first; parameters that were tried twice stand there once."""
    measured = sorted((one for one in tried if one.outcome == "measured"), key=lambda one: -sign * one.mean)
    return [one for place, one in enumerate(measured) if all(one.params != other.params for other in measured[:place])]


def _best_told(exam: Exam, tried: list[Tried]) -> str:
    best = best_of(tried, exam.sign)[0]
    return f"{shown(best.mean)} of {f'trial {best.number}' if best.number else 'the present parameters'}"


def _conclude(exam: Exam, history: TrialStore, present: list[float], log: Log) -> SearchResult:
    tried = history.tried
    ranked = best_of(tried, exam.sign)
    anew = None
    if ranked[0].params != exam.present:
        log(f"search: measuring trial {ranked[0].number} anew, on {len(exam.model.anew)} folds")
        anew = exam.values_anew(ranked[0].params), present
    return conclude(
        exam.project.tool.model, exam.metric, exam.sign, tried, ranked, anew,
        importance=history.importance(), key=exam.key, folds=f"{counted(exam.folds, 'fold')} {by()}",
        rows=exam.rows,
    )  # fmt: skip


def _key(project: Project, asked: SearchParams, rows: Path) -> str:
    """Digest of all that decides what a trial is worth: another one is another search."""
    code = team.source("model").parent
    lock = project.root / "uv.lock"
    params = project.params
    content = (
        sha256(rows),
        sha256(lock) if lock.is_file() else "",
        {path.relative_to(code).as_posix(): sha256(path) for path in code.rglob("*.py")},
        (params.seed, params.model, params.decision, asked.ranges, asked.metric, asked.folds),
        project.policy.gates.metrics[asked.metric].sign,
    )
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def _require_current(project: Project, path: Path) -> None:
    """Refuse training rows that another split has made: among them may be what are test rows by now."""
    lock = project.root / "dvc.lock"
    known: dict[str, Any] = msgspec.yaml.decode(lock.read_bytes()) if lock.is_file() else {}
    stage = known.get("stages", {}).get("split")
    if stage is None:
        return
    written: dict[str, Any] = msgspec.yaml.decode((project.root / "params.yaml").read_bytes())
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    made = {out["path"]: out.get("md5") for out in stage.get("outs", [])}
    then = stage.get("params", {}).get("params.yaml", {}).get("split")
    # A date may stand with quotes in one of them and without in the other.
    splits = [msgspec.json.encode(split, order="deterministic") for split in (then, written["split"])]
    if made.get(TRAIN) != digest or splits[0] != splits[1]:
        raise MlopsError(f"{TRAIN} is not what split in params.yaml asks for", "mlops pipeline")


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
