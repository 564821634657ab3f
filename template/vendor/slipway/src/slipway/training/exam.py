"""What parameters are asked that may become the model's: to learn from parts of the training rows, and answer the rest.

The test rows are not read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from slipway import kinds, team
from slipway.base.errors import MlopsError, first_line
from slipway.base.files import sha256
from slipway.base.numbers import counted
from slipway.contract.columns import Column
from slipway.data import cut_off
from slipway.kinds.base import Matrix
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training import team_code
from slipway.training.engines import Mapper
from slipway.training.folds import Fold, folds_of
from slipway.training.train import learned_from

TRAIN = "data/train.parquet"


def by() -> str:
    """How rows fall into folds."""
    return f"by {CONTRACT.time}" if CONTRACT.time else "by digest of their key"


class FoldOfTrial(NamedTuple):
    """Parameters, and the fold that measures them; `anew` for the other folds, with another seed."""

    params: Mapping[str, Any]
    number: int
    anew: bool
    name: str = ""

    def __str__(self) -> str:
        return f"fold {self.number + 1} of {self.name or dict(self.params)}"


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
        """Return the value of the metric. Raises as `figures` does."""
        return self.figures(trial)[0][self.metric]

    def figures(self, trial: FoldOfTrial) -> tuple[dict[str, float], float]:
        """Return all that is measured, and how many seconds it took to learn.

        Raises `MlopsError` where a fold has no value of the metric.
        """
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
        started = time.monotonic()
        team_code.fit("model", estimator, self.names, self.matrix[fold.learned], learned)
        seconds = time.monotonic() - started
        scores = kind.predicted(estimator, self.matrix[fold.asked])
        threshold = kind.threshold(self.project.params.decision.wanted)
        found = team.metrics(self.truth[fold.asked], scores, threshold)
        if not isfinite(found.get(self.metric, nan)):
            raise MlopsError(
                f"metrics.py gives no number for {self.metric} of the {int(fold.asked.sum()):,} rows of a fold",
                "set search.folds in params.yaml lower, or search by another metric",
            )
        return {name: float(value) for name, value in found.items() if isfinite(value)}, seconds


@dataclass(frozen=True)
class Exam:
    """What is asked of all parameters alike: the training rows in folds, and the metric, of which `sign` says whether
    more is better.
    """

    project: Project
    sign: int
    model: FoldModel
    engine: Mapper

    @classmethod
    def of(cls, project: Project, metric: str, folds: int, engine: Mapper) -> Exam:
        """Read the training rows, and compute their features once: a row's features depend on that row alone."""
        path = project.root / TRAIN
        if not path.is_file():
            raise MlopsError("there are no training rows in this checkout", "mlops pipeline (or `dvc pull`)")
        _require_current(project, path)
        rows = pl.read_parquet(path)
        rows = rows.drop_nulls(CONTRACT.time) if CONTRACT.time else rows
        learned = learned_from(rows)
        parts, anew = (folds_of(rows, count) for count in (folds, count_anew(folds)))
        model = FoldModel(project, metric, *learned, parts, anew)
        return cls(project, project.policy.gates.metrics[metric].sign, model, engine)

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
    def in_words(self) -> str:
        """By what folds, for whoever reads a result."""
        return f"{counted(self.folds, 'fold')} {by()}"

    def values(self, params: Mapping[str, Any]) -> Iterator[float]:
        """Measure parameters fold by fold; an engine may be folds ahead of who asks."""
        return self.engine.map(self.model, [FoldOfTrial(params, one, False) for one in range(len(self.model.folds))])

    def values_anew(self, params: Mapping[str, Any]) -> list[float]:
        """Measure parameters on other folds and with another seed than those by which they were chosen."""
        folds = range(len(self.model.anew))
        return [*self.engine.map(self.model, [FoldOfTrial(params, one, True) for one in folds])]


def count_anew(folds: int) -> int:
    """How many folds measure the best and the present anew: more tell more, and none of their borders is the same."""
    return 2 * folds + 1


def reason_of(error: Exception) -> str:
    """Why parameters could not be measured, in a line."""
    kind = "" if isinstance(error, MlopsError) else f"{type(error).__name__}: "
    return f"{kind}{first_line(error)}"[:300]


def basis(project: Project) -> tuple[Any, ...]:
    """Digests of all that decides what parameters are worth, beside themselves, the folds and the metric."""
    code, lock = team.source("model").parent, project.root / "uv.lock"
    digests = {path.relative_to(code).as_posix(): sha256(path) for path in code.rglob("*.py")}
    return sha256(project.root / TRAIN), sha256(lock) if lock.is_file() else "", digests


def digest(content: object) -> str:
    """Digest of plain values, whatever the order of their names."""
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def _require_current(project: Project, path: Path) -> None:
    """Refuse training rows that another split has made: among them may be what are test rows by now."""
    cut_off.require_whole(project)
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
