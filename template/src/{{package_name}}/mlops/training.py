"""The stage `train`: fit the model and its baseline, and turn both into a format that runs no code.

What is evaluated, registered and served is the converted model. So conversion is proven here, where
the trained estimator is still in memory: both must give the same scores on the test rows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, is_classifier

from .. import model as team
from ..contract import CONTRACT
from .bundle import ModelFacts, write_json
from .errors import MlopsError
from .frames import columns
from .project import Project
from .schema import Column
from .scoring import Matrix, OnnxModel, Scores, matrix

#: Largest relative difference between the estimator's and the converted model's scores.
PARITY = 1e-4


def train(project: Project) -> None:
    """Fit on the training rows; write `model/model.onnx`, `model/baseline.onnx`, `model/model.json`."""
    names, rows, truth = learning_set(project.root / "data" / "train.parquet")
    _, unseen, _ = learning_set(project.root / "data" / "test.parquet")
    estimators: dict[str, Any] = {
        "model": team.build(project.params.seed, **project.params.model),
        "baseline": team.baseline(names, project.params.seed),
    }
    kind: Literal["class", "number"] = "class" if is_classifier(estimators["model"]) else "number"
    for name, estimator in estimators.items():
        sys.stderr.write(f"train: fitting the {name} on {len(rows):,} rows\n")
        estimator.fit(rows, truth)
        convert(estimator, kind, rows.shape[1], unseen, project.root / "model" / f"{name}.onnx")
    facts = ModelFacts(
        name=project.tool.model,
        answer=team.ANSWER,
        kind=kind,
        threshold=project.params.decision.threshold,
        features=names,
        contract=CONTRACT.fingerprint,
    )
    write_json(project.root / "model" / "model.json", facts)


def learning_set(path: Path) -> tuple[list[str], Matrix, Column]:
    """Read rows with outcomes; return the feature names, the feature matrix and the target."""
    frame = pl.read_parquet(path)
    names, stacked = matrix(columns(frame, CONTRACT.fields))
    return names, stacked, team.target(columns(frame, CONTRACT.outcome_fields))


def convert(estimator: BaseEstimator, kind: str, width: int, unseen: Matrix, path: Path) -> None:
    """Write the estimator as ONNX and prove that nothing was lost on rows it has not seen.

    Raises `MlopsError` when there is no converter, or when the scores differ.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    options = {"zipmap": False} if kind == "class" else None
    try:
        converted = to_onnx(
            estimator, initial_types=[("rows", FloatTensorType([None, width]))], options=options, target_opset=18
        )
    except (MissingConverter, MissingShapeCalculator, NotImplementedError) as error:
        raise MlopsError(
            f"{type(estimator).__name__} cannot be converted to ONNX: {str(error).splitlines()[0]}",
            "use an estimator that skl2onnx supports in model.py: https://onnx.ai/sklearn-onnx/supported.html",
        ) from error
    # The converter lists them in the order of a set, which differs from process to process.
    converted.opset_import.sort(key=lambda opset: opset.domain)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(converted.SerializeToString())
    require_parity(estimator_scores(estimator, kind, unseen), OnnxModel(path, kind)(unseen), path.name)


def estimator_scores(estimator: Any, kind: str, rows: Matrix) -> Scores:
    """Scores of a fitted scikit-learn estimator: the probability of "yes", or the quantity."""
    scores: Scores = estimator.predict_proba(rows)[:, -1] if kind == "class" else estimator.predict(rows)
    return scores


def require_parity(before: Scores, after: Scores, name: str) -> None:
    """Refuse a conversion that changes what the model says.

    A tree may send a row that lies on a threshold to the other side in 32-bit numbers, so
    one row in a thousand may differ by more than rounding.
    """
    apart = np.abs(before - after) > PARITY * (1 + np.abs(before))
    if apart.mean() > 0.001:
        raise MlopsError(
            f"{name} gives other scores than the estimator it was made from, on {apart.mean():.1%} of the test rows",
            "choose another estimator in model.py; this one does not survive the conversion",
        )
