"""The stage `evaluate`: what model and baseline are worth on the test rows.

Figures go to `reports/metrics.json`, equal on every machine; time and size go to `reports/cost.json`.
Whether they are good enough is another question, for `gates.py`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.base.numbers import significant
from slipway.contract.frames import columns
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle, ModelFacts
from slipway.training.confusion import Confusion
from slipway.training.costs import cost_of_answers
from slipway.training.formats.base import Scoring
from slipway.training.formats.onnx import OnnxModel
from slipway.training.rates import rates
from slipway.training.reliability import Reliability, by_class, reliability
from slipway.training.scoring import load, matrix
from slipway.training.train import learning_set

Metrics = dict[str, float]


def evaluate(project: Project) -> None:
    """Measure model and baseline on the test rows: as a whole, by slice, and how far scores are from what happened."""
    root = project.root
    made = Bundle(root / "model")
    facts = made.model
    _, rows, truth = learning_set(root / "data" / "test.parquet")
    kind = kinds.named(facts.kind, facts.classes)
    model = load(made.path, facts, kind)
    scores = model(rows)
    baseline = OnnxModel(made.path / "baseline.onnx", kind)(rows)
    measured = figures_of(project, facts, truth, scores)
    measured["model"] = _finite("model", measured["model"])
    measured["baseline"] = _finite("baseline", team.metrics(truth, baseline, facts.threshold))
    if costs := project.params.decision.costs:
        measured["costs"] = cost_of_answers(costs, scores, kind.happened(truth))
    write_json(root / "reports" / "metrics.json", measured)
    write_json(root / "reports" / "cost.json", _cost(project, model, made))


def figures_of(project: Project, facts: ModelFacts, truth: Any, scores: Any) -> dict[str, Any]:
    """All that is measured of one model: metrics, also of each group, reliability, also of each class, and which class
    was answered.

    Raises `MlopsError` where gates.slices in policy.yaml names a column that the contract has not.
    """
    measured: dict[str, Any] = {
        "rows": len(truth),
        "model": team.metrics(truth, scores, facts.threshold),
        "slices": _slices(project, facts, truth, scores),
        "reliability": reliability_of(facts, truth, scores),
    }
    if not facts.classes:
        return measured
    each = by_class(scores, truth, facts.classes)
    return measured | {"confusion": Confusion.of(truth, scores, facts), "reliability_by_class": each}


def reliability_of(facts: ModelFacts, truth: Any, scores: Any) -> Reliability:
    """The reliability of the one score that each row has."""
    kind = kinds.named(facts.kind, facts.classes)
    return reliability(kind.told(scores, facts.threshold), kind.observed(truth, scores, facts.threshold))


def _slices(project: Project, facts: ModelFacts, truth: Any, scores: Any) -> list[dict[str, Any]]:
    """Measure each group of test rows that policy.yaml, gates.slices, asks for, and how it is answered.

    Raises `MlopsError` for a column that the contract has not.
    """
    kind, threshold = kinds.named(facts.kind, facts.classes), facts.threshold
    test = pl.read_parquet(project.root / "data" / "test.parquet")
    found: list[dict[str, Any]] = []
    for name, least in project.policy.gates.groups.items():
        if name not in test.columns:
            raise MlopsError(
                f"policy.yaml, gates.slices: there is no column {name} in the contract",
                f"choose from {', '.join(field.name for field in CONTRACT.fields)}",
            )
        groups = test.select(pl.col(name).alias("value")).with_row_index().group_by("value", maintain_order=True)
        for (value,), group in groups:
            if group.height < least:
                continue  # no rule asks for it, and many metrics of a few rows are not defined
            inside = group["index"].to_numpy()
            answered = rates(kind, kind.answers(scores[inside], threshold))
            measured = team.metrics(truth[inside], scores[inside], threshold)
            figures = _rounded(answered | measured)
            found.append({"column": name, "value": str(value), "rows": len(inside), "metrics": figures})
    return sorted(found, key=lambda one: (one["column"], one["value"]))


def _cost(project: Project, model: Scoring, made: Bundle) -> dict[str, float]:
    """Size of the model, and the median time from one row to its score, features included."""
    one = pl.read_parquet(project.root / "data" / "test.parquet").head(1)
    row = columns(one, CONTRACT.fields)
    taken = []
    for _ in range(200):
        started = time.perf_counter()
        model(matrix(row, made.model.features)[1])
        taken.append(time.perf_counter() - started)
    size = made.model_file.stat().st_size
    return {"model_megabytes": round(size / 1e6, 3), "one_row_ms": round(float(np.median(taken)) * 1e3, 4)}


def _finite(whose: str, figures: Metrics) -> Metrics:
    """Refuse a figure of all test rows that is no number: nothing could be compared with it."""
    if absent := [name for name, value in figures.items() if not np.isfinite(value)]:
        raise MlopsError(
            f"metrics.py gives no number for {', '.join(absent)} of the {whose} on the test rows",
            "leave it out where it cannot be measured, or split in params.yaml so that the test rows tell",
        )
    return _rounded(figures)


def _rounded(figures: Metrics) -> Metrics:
    # Six digits keep the files equal across machines whose last bits differ.
    return {name: significant(value, 6) for name, value in sorted(figures.items()) if np.isfinite(value)}
