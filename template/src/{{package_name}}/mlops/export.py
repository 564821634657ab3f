"""The stage `export`: gather what the model is into the bundle that registration seals."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import polars as pl

from .. import model as team
from ..contract import CONTRACT
from .bins import days_of
from .bundle import Bias, Bundle, Expected, Golden, ModelFacts, write_json
from .concept import bias
from .counts import Histogram
from .frames import as_rows, columns
from .project import Project
from .schema import Field, Kind
from .scoring import OnnxModel, matrix

REFERENCE_ROWS = 5_000
GOLDEN_ROWS = 8

#: Finer towards both ends, where the scores of rare answers are.
PROBABILITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Which part of the reference has a lower quantity than each bound.
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


def export(project: Project) -> None:
    """Write `model/bundle/`, the same bytes for the same inputs."""
    made = project.root / "model"
    folder = project.bundle
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("model.onnx", "model.json"):
        shutil.copyfile(made / name, folder / name)
    shutil.copyfile(project.root / "reports" / "metrics.json", folder / "metrics.json")
    bundle = Bundle(folder)
    schema = {"fingerprint": CONTRACT.fingerprint, "time": CONTRACT.time, "key": CONTRACT.key}
    write_json(folder / "contract.json", schema | CONTRACT.json_schema)
    model = OnnxModel(bundle.onnx, bundle.model.kind)
    train = pl.read_parquet(project.root / "data" / "train.parquet")
    # In the order of time the newest row is in the reference: the monitor tells the model's age by it.
    ordered = train if CONTRACT.time is None else train.sort(CONTRACT.time, maintain_order=True)
    scored = _scored(ordered, model, bundle.model)
    reference = _spread(scored, REFERENCE_ROWS)
    reference.write_parquet(bundle.reference)
    write_json(folder / "expected.json", _expected(reference, bundle.model.kind, _bias(ordered, scored)))
    test = pl.read_parquet(project.root / "data" / "test.parquet")
    write_json(folder / "golden.json", _golden(_scored(_spread(test, GOLDEN_ROWS), model, bundle.model), train))
    card = _card(bundle, train, project)
    (folder / "card.md").write_text(card, encoding="utf-8", newline="\n")


def _scored(frame: pl.DataFrame, model: OnnxModel, facts: ModelFacts) -> pl.DataFrame:
    rows = frame.select(field.name for field in CONTRACT.fields)
    scores = model(matrix(columns(frame, CONTRACT.fields), facts.features)[1])
    return rows.with_columns(pl.Series("score", scores, dtype=pl.Float32))


def _spread(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Pick about `rows` rows, evenly spread over the frame, always the same ones."""
    positions = np.unique(np.linspace(0, frame.height - 1, min(rows, frame.height)).astype(int))
    spread: pl.DataFrame = frame[positions.tolist()]
    return spread


def _bias(train: pl.DataFrame, scored: pl.DataFrame) -> Bias | None:
    truth = team.target(columns(train, CONTRACT.outcome_fields))
    # Where rows have no time, each is a draw of its own.
    days = np.arange(train.height) if CONTRACT.time is None else days_of(train[CONTRACT.time])
    found = bias(truth, scored["score"].cast(pl.Float64).to_numpy(), days)
    return found and Bias(value=float(f"{found.value:.6g}"), error=float(f"{found.error:.6g}"), days=found.days)


def _expected(reference: pl.DataFrame, kind: str, learned: Bias | None) -> Expected:
    scores = reference["score"].cast(pl.Float64)
    bounds: set[float] = set(PROBABILITIES)
    if kind == "number":
        bounds = {float(f"{bound:.4g}") for bound in np.quantile(scores.to_numpy(), QUANTILES)}
    histogram = Histogram.of(sorted(bounds))
    for score in scores:
        histogram.observe(score)
    histogram.total = round(histogram.total, 4)
    fields = [field.name for field in CONTRACT.fields if field.optional]
    missing = {name: round(reference[name].null_count() / reference.height, 4) for name in fields}
    return Expected(scores=histogram, missing=missing, bias=learned)


def _golden(frame: pl.DataFrame, train: pl.DataFrame) -> Golden:
    scores = [round(score, 7) for score in frame["score"].to_list()]
    (usual,) = msgspec.to_builtins(as_rows(train.select(_usual(train[field.name], field) for field in CONTRACT.fields)))
    return Golden(rows=msgspec.to_builtins(as_rows(frame)), scores=scores, usual=usual)


def _usual(column: pl.Series, field: Field) -> pl.Series:
    """The median of numbers and times, the most frequent of other values; a missing value is no value."""
    known = column.drop_nulls()
    if field.kind in (Kind.NUMBER, Kind.INTEGER, Kind.TIME) and known.len():
        middle = known.sort()[[known.len() // 2]]  # a value that was there, so it keeps the contract
        return middle.alias(field.name)
    most: pl.Series = known.mode().sort().head(1) if known.len() else column.head(1)
    return most.alias(field.name)


def _card(bundle: Bundle, train: pl.DataFrame, project: Project) -> str:
    """The model card: the team's own words from `docs/model.md`, then the figures of this model."""
    facts, metrics = bundle.model, bundle.metrics
    period = "" if CONTRACT.time is None else f", {train[CONTRACT.time].min()!s} to {train[CONTRACT.time].max()!s}"
    words = (project.root / "docs" / "model.md").read_text("utf-8").strip()
    figures = [
        f"| {name} | {value:.4g} | {metrics['baseline'].get(name, float('nan')):.4g} |"
        for name, value in metrics["model"].items()
    ]
    gate = project.policy.gates.slices
    worst = [
        f"| {one['column']} = {one['value']} | {one['metrics'][gate.metric]:.4g} | {one['rows']:,} |"
        for one in metrics["slices"]
        if gate.metric in one["metrics"] and one["rows"] >= gate.min_rows
    ]
    return "\n".join([
        words,
        "",
        "## This version",
        "",
        f"- Answers `{facts.answer}` from {len(facts.features)} features: {', '.join(facts.features)}.",
        f"- Learned from {train.height:,} rows{period}; "
        f"tested on {metrics['rows']:,} rows it has not seen.",
        f"- Parameters: {msgspec.json.encode(project.params.model).decode()}, seed {project.params.seed}.",
        "",
        "| metric | model | baseline |",
        "|---|---|---|",
        *figures,
        "",
        f"| slice | {gate.metric} | rows |",
        "|---|---|---|",
        *worst,
        "",
    ])  # fmt: skip
