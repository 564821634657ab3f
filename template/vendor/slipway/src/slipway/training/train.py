"""The stage `train`: fit the model and its baseline, and turn both into a format that runs no code.

What is evaluated, registered and served is what was read from that file. So it is proven here, where the trained
estimator is still in memory: both must give the same scores, see `parity.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.base.numbers import counted
from slipway.contract.columns import Column
from slipway.contract.frames import columns
from slipway.kinds.base import Kind, Matrix
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training import formats, parity, team_code
from slipway.training.bundle import ModelFacts
from slipway.training.exporters import graphs
from slipway.training.formats.base import ModelFormat, Scoring, unkept
from slipway.training.scoring import matrix, merged


def train(project: Project) -> None:
    """Fit on the training rows; write the model in its format, `model/baseline.onnx` and `model/model.json`."""
    learned = pl.read_parquet(project.root / "data" / "train.parquet")
    names, rows, truth = learned_from(learned)
    for sentence in merged(columns(learned, CONTRACT.fields)):
        sys.stderr.write(f"train: {sentence}\n")
    tested = pl.read_parquet(project.root / "data" / "test.parquet")
    _, unseen, _ = learned_from(tested)
    estimators = team_code.estimators_of(project, names)
    kind, other = (kinds.of(estimator, team.classes()) for estimator in estimators.values())
    if kind != other:
        raise MlopsError(
            f"model and baseline in model.py give different kinds of answers, {kind.name} and {other.name}",
            "build a baseline that answers as the model does",
        )
    team_code.require_learnable(kind, truth)
    if same := team_code.constant(names, rows):
        _say(f"mind: the same value in every row has the feature {', '.join(same)}")
    for name, estimator in estimators.items():
        _say(f"fitting the {name} on {counted(len(rows), 'row')}")
        team_code.fit(name, estimator, names, rows, truth)
    form, trusted = format_of(project)
    place = project.root / "model"
    file = place / form.file
    convert(estimators["baseline"], kind, unseen, place / "baseline.onnx")
    converted = convert(estimators["model"], kind, unseen, file, form, trusted)
    parity.require_parity_everywhere(estimators["model"], converted, kind, parity.probes(tested, names), file.name)
    facts = ModelFacts(
        name=project.tool.model,
        answer=team.model.ANSWER,
        kind=kind.name,
        threshold=kind.threshold(project.params.decision.wanted),
        features=names,
        contract=CONTRACT.fingerprint,
        classes=[*kind.classes],
        format=form.name,
        libraries=formats.versions(form.modules(file)),
        trusted=trusted,
    )
    write_json(place / "model.json", facts)


def format_of(project: Project) -> tuple[ModelFormat, list[str]]:
    """The format that params.yaml asks for, ONNX without a word, and the types that it trusts."""
    own = project.params.model_format
    return (formats.named(own.name), own.trusted) if own else (formats.ONNX, [])


def learning_set(path: Path) -> tuple[list[str], Matrix, Column]:
    """Read rows with outcomes; return the feature names, the feature matrix and the target."""
    return learned_from(pl.read_parquet(path))


def learned_from(rows: pl.DataFrame) -> tuple[list[str], Matrix, Column]:
    """The feature names, the feature matrix and the target of rows with outcomes."""
    names, stacked = matrix(columns(rows, CONTRACT.fields))
    team_code.require_finite(names, stacked)
    return names, stacked, team_code.target_of(columns(rows, CONTRACT.outcome_fields))


def convert(
    estimator: Any,
    kind: Kind,
    unseen: Matrix,
    path: Path,
    form: ModelFormat = formats.ONNX,
    trusted: Sequence[str] = (),
) -> Scoring:
    """Write the estimator in a format, load it, and prove that nothing was lost on rows it has not seen.

    Raises `MlopsError` when it cannot be written, when what was written cannot be run, or when the scores differ.
    """
    content = form.content(estimator, kind, unseen)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    before = parity.predicted(estimator, kind, unseen, "the test rows")
    try:
        loaded = form.load(path, kind, threads=1, trusted=trusted)
        after = loaded(unseen)
    except MlopsError:
        raise
    except Exception as error:  # onnxruntime has no common class of its errors, and each library its own
        is_onnx = form is formats.ONNX
        raise (graphs.unconverted(estimator, error) if is_onnx else unkept(estimator, form.name, error)) from error
    parity.require_parity(before, after, kind, path.name)
    return loaded


def _say(line: str) -> None:
    sys.stderr.write(f"train: {line}\n")
