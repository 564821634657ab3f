"""Scores as columns of a data frame: one number for each row, and with classes a list of probabilities beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
from numpy.typing import NDArray

from slipway import kinds
from slipway.kinds.base import Scores
from slipway.team import PROBABILITIES
from slipway.training.bundle import ModelFacts

SCORE = "score"


def columns_of(scores: Scores, facts: ModelFacts) -> Iterator[pl.Series]:
    """The columns that say what a model gave rows."""
    kind = kinds.named(facts.kind, facts.classes)
    yield pl.Series(SCORE, kind.told(scores, facts.threshold), dtype=pl.Float32)
    if kind.classes:
        yield pl.Series(PROBABILITIES, scores, dtype=pl.Array(pl.Float32, len(kind.classes))).arr.to_list()


def names_in(frame: pl.DataFrame) -> list[str]:
    """Which of these columns a frame has."""
    return [name for name in (SCORE, PROBABILITIES) if name in frame.columns]


def scores_in(frame: pl.DataFrame) -> NDArray[Any]:
    """The scores of rows that one model was asked for: as it gave them, one number each or a matrix."""
    if PROBABILITIES in frame.columns and frame.height and frame[PROBABILITIES].null_count() < frame.height:
        each = frame[PROBABILITIES]
        return each.list.to_array(len(each.drop_nulls()[0])).to_numpy()
    return frame[SCORE].to_numpy()


def observed(frame: pl.DataFrame, facts: ModelFacts, truth: str) -> pl.DataFrame:
    """The frame with what its `score` is an expectation of in place of the `truth`, which may be unknown.

    Of one score for each row that is the truth itself. Of classes it is whether the answer is right.
    """
    kind = kinds.named(facts.kind, facts.classes)
    if not kind.classes or frame.is_empty():
        return frame
    known = frame[truth].cast(pl.Float64).fill_null(float("nan"))
    seen = pl.Series(truth, kind.observed(known.to_numpy(), scores_in(frame), facts.threshold))
    return frame.with_columns(pl.when(pl.col(truth).is_not_null()).then(seen).alias(truth))
