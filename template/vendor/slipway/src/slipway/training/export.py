"""The stage `export`: gather what the model is into the bundle that registration seals."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import polars as pl
from numpy.typing import NDArray

from slipway import kinds
from slipway.base.files import write_json
from slipway.base.numbers import counted, significant
from slipway.contract.frames import as_logged, as_rows, columns, spread
from slipway.contract.rows import Field, FieldKind
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.bundle import Bundle, Golden, ModelFacts
from slipway.training.confusion import Confusion
from slipway.training.formats.base import Scoring
from slipway.training.reference import expected, out_of_sample
from slipway.training.score_columns import columns_of, observed, scores_in
from slipway.training.scoring import load, matrix

#: Some megabytes at most; enough of each day for years.
REFERENCE_ROWS = 50_000
GOLDEN_ROWS = 8


def export(project: Project) -> None:
    """Write `model/bundle/`, the same bytes for the same inputs."""
    made = project.root / "model"
    folder = project.bundle
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts = Bundle(made).model
    for path in (Bundle(made).model_file, made / "model.json"):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(project.root / "reports" / "metrics.json", folder / "metrics.json")
    bundle = Bundle(folder)
    schema = {"fingerprint": CONTRACT.fingerprint, "time": CONTRACT.time, "key": CONTRACT.key}
    write_json(folder / "contract.json", schema | CONTRACT.json_schema)
    kind = kinds.named(facts.kind, facts.classes)
    model = load(folder, facts, kind)
    train = pl.read_parquet(project.root / "data" / "train.parquet")
    # In the order of time the newest row is in the reference: the monitor tells the model's age by it.
    ordered = train if CONTRACT.time is None else train.sort(CONTRACT.time, maintain_order=True)
    reference = _scored(spread(ordered, REFERENCE_ROWS), model, facts)
    reference.write_parquet(bundle.reference)
    test = pl.read_parquet(project.root / "data" / "test.parquet")
    tested = spread(test, REFERENCE_ROWS)
    unseen = out_of_sample(tested, _scored(tested, model, facts))
    unseen.write_parquet(bundle.tested)
    write_json(folder / "expected.json", expected(reference, observed(unseen, facts, "truth"), kind))
    golden = spread(test, GOLDEN_ROWS)
    write_json(folder / "golden.json", _golden(golden, scores_in(_scored(golden, model, facts)), train))
    card = _card(bundle, train, project)
    (folder / "card.md").write_text(card, encoding="utf-8", newline="\n")


def _scored(frame: pl.DataFrame, model: Scoring, facts: ModelFacts) -> pl.DataFrame:
    scores = model(matrix(columns(frame, CONTRACT.fields), facts.features)[1])
    return as_logged(frame).with_columns(columns_of(scores, facts))


def _golden(frame: pl.DataFrame, given: NDArray[Any], train: pl.DataFrame) -> Golden:
    scores = [_exact(score) for score in given.tolist()]
    (usual,) = msgspec.to_builtins(as_rows(train.select(_usual(train[field.name], field) for field in CONTRACT.fields)))
    return Golden(rows=msgspec.to_builtins(as_rows(frame)), scores=scores, usual=usual)


def _exact(score: Any) -> Any:
    return [*map(_exact, score)] if isinstance(score, list) else significant(score, 9)


def _usual(column: pl.Series, field: Field) -> pl.Series:
    """The median of numbers and times, the most frequent of other values, a picture; a missing value is no value."""
    known = column.drop_nulls()
    if field.kind is FieldKind.PICTURE:  # each is another one; the first is as usual as any
        return known.head(1).alias(field.name)
    if field.kind in (FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.TIME) and known.len():
        middle = known.sort()[[known.len() // 2]]  # a value that was there, so it keeps the contract
        return middle.alias(field.name)
    most: pl.Series = known.mode().sort().head(1) if known.len() else column.head(1)
    return most.alias(field.name)


def _confusion(metrics: dict[str, Any]) -> list[str]:
    if "confusion" not in metrics:
        return []
    found = msgspec.convert(metrics["confusion"], Confusion)
    return [
        "What was answered on the test rows, and in brackets which share of the rows of a class that is:",
        "",
        *found.markdown(),
        "",
    ]


def _card(bundle: Bundle, train: pl.DataFrame, project: Project) -> str:
    """The model card: the team's own words from `docs/model.md`, then the figures of this model."""
    facts, metrics = bundle.model, bundle.metrics
    period = "" if CONTRACT.time is None else f", {train[CONTRACT.time].min()!s} to {train[CONTRACT.time].max()!s}"
    words = (project.root / "docs" / "model.md").read_text("utf-8").strip()
    figures = [
        f"| {name} | {value:.4g} | {metrics['baseline'].get(name, float('nan')):.4g} |"
        for name, value in metrics["model"].items()
    ]
    groups = [
        f"| {one['column']} = {one['value']} | {rule.metric} | {one['metrics'][rule.metric]:.4g} | {one['rows']:,} |"
        for rule in project.policy.gates.slice_rules
        for one in metrics["slices"]
        if one["column"] in rule.columns and rule.metric in one["metrics"] and one["rows"] >= rule.min_rows
    ]
    return "\n".join([
        words,
        "",
        "## This version",
        "",
        f"- Answers `{facts.answer}` from {len(facts.features)} features: {', '.join(facts.features)}.",
        f"- Learned from {train.height:,} rows{period}; "
        f"tested on {metrics['rows']:,} rows it has not seen.",
        *_scores_in_words(metrics),
        f"- Parameters: {msgspec.json.encode(project.params.model).decode()}, seed {project.params.seed}.",
        "",
        "| metric | model | baseline |",
        "|---|---|---|",
        *figures,
        "",
        "| slice | metric | value | rows |",
        "|---|---|---|---|",
        *groups,
        "",
        *_confusion(metrics),
    ])  # fmt: skip


def _scores_in_words(metrics: dict[str, Any]) -> list[str]:
    """What is known of the scores themselves."""
    known = metrics.get("reliability")
    if known is None:
        return []
    return [
        f"- Scores are {known['error']:.4g} from what happened, on average of {counted(len(known['bands']), 'band')} "
        f"of test rows; chance alone makes that {known['chance']:.4g}."
    ]
