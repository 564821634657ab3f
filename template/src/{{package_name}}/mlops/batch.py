"""Predicting a file of rows, with the contract, features and model that the server uses."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from ..contract import CONTRACT
from .errors import MlopsError
from .frames import columns, parse, read_raw
from .scoring import Scorer

CHUNK = 50_000


def predict_file(scorer: Scorer, source: Path, target: Path, *, with_score: bool) -> int:
    """Predict each row of `source` (.csv, .csv.gz, .parquet); write key and answer to `target`.

    All or nothing: a file with a row that breaks the contract is refused, and so is a
    target that exists. Returns the number of rows.
    """
    if not source.exists():
        raise MlopsError(f"there is no {source}", "name a file, or a folder of files, with rows to predict")
    if target.exists():
        raise MlopsError(f"{target} exists", "name another file, or remove it first")
    if target.suffix not in (".csv", ".parquet"):
        raise MlopsError(f"{target} is neither .csv nor .parquet", "choose one of these endings", exit_code=2)
    raw = read_raw(source)
    frame, violations = parse(raw, CONTRACT.fields)
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise MlopsError(f"{source} breaks the contract:\n{listed}", "mend these rows and run this again")
    scores = score_frame(scorer, frame)
    predicted = frame.select(CONTRACT.key).with_columns(
        pl.Series(scorer.facts.answer, scorer.answers(scores.to_numpy())),
        pl.lit(scorer.bundle.digest).alias("model"),
    )
    if with_score:
        predicted = predicted.with_columns(scores)
    draft = target.with_name(f".{target.name}.draft")
    target.parent.mkdir(parents=True, exist_ok=True)
    predicted.write_csv(draft) if target.suffix == ".csv" else predicted.write_parquet(draft)
    draft.replace(target)
    return predicted.height


def score_frame(scorer: Scorer, frame: pl.DataFrame) -> pl.Series:
    """Score a typed frame in chunks, telling how far it is when that takes a while."""
    parts = []
    for start in range(0, frame.height, CHUNK):
        part = frame.slice(start, CHUNK)
        parts.append(pl.Series("score", scorer.scores(columns(part, CONTRACT.fields)), dtype=pl.Float32))
        if frame.height > CHUNK:
            sys.stderr.write(f"scored {start + part.height:,} of {frame.height:,} rows\n")
    return pl.concat(parts) if parts else pl.Series("score", [], dtype=pl.Float32)
