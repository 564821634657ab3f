"""What a model is later compared with: its scores on rows it did not learn from, and how far off it is on those.

A model is surer of the rows that it learned from than of any other, the more so the more it overfits. Its scores on
those say nothing of what comes.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway.base.numbers import significant
from slipway.contract.columns import Column
from slipway.contract.frames import columns
from slipway.kinds.base import Kind
from slipway.team import CONTRACT
from slipway.training.bundle import Bias, Expected
from slipway.training.histogram import Histogram
from slipway.training.score_columns import names_in
from slipway.training.team_code import target_of

#: Numbers of days, one for each row.
Days = NDArray[np.integer]

#: Fewer days do not tell how much days differ.
FEWEST_DAYS = 5


def out_of_sample(rows: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """What is kept of test rows: their scores, the `truth`, and their time where they have one."""
    truth = pl.Series("truth", target_of(columns(rows, CONTRACT.outcome_fields)))
    return scored.select(*([] if CONTRACT.time is None else [CONTRACT.time]), *names_in(scored), truth)


def expected(reference: pl.DataFrame, unseen: pl.DataFrame, kind: Kind) -> Expected:
    """The scores and the bias of `unseen` rows, as `out_of_sample` keeps them, and the `reference` in a few numbers."""
    scores = unseen["score"].cast(pl.Float64)
    histogram = Histogram.of(kind.histogram_bounds(scores.to_numpy()))
    for score in scores:
        histogram.observe(score)
    histogram.total = significant(histogram.total, 9)
    fields = [field.name for field in CONTRACT.fields if field.optional]
    missing = {name: round(reference[name].null_count() / reference.height, 4) for name in fields}
    return Expected(scores=histogram, missing=missing, bias=_seen(unseen))


def bias(truth: Column, scores: Column, days: Days) -> Bias | None:
    """By how much what happened exceeds the scores, with its error by days; `None` where there are too few of them.

    >>> found = bias(np.array([1, 0, 1, 0, 1, 1]), np.full(6, 0.5), np.array([1, 1, 2, 3, 4, 5]))
    >>> round(found.value, 3), found.days
    (0.167, 5)
    """
    _, places, rows = np.unique(days, return_inverse=True, return_counts=True)
    many = len(rows)
    if many < FEWEST_DAYS:
        return None
    exceeding = np.bincount(places, weights=truth - scores)
    value = exceeding.sum() / rows.sum()
    variance = many / (many - 1) * np.square(exceeding - value * rows).sum()
    return Bias(value=float(value), error=float(np.sqrt(variance) / rows.sum()), days=many)


def days_of(times: pl.Series) -> Days:
    """Number the day of each time; rows without one are of one day."""
    return times.dt.date().cast(pl.Int32).fill_null(-1).to_numpy()


def _seen(unseen: pl.DataFrame) -> Bias | None:
    # Where rows have no time, each is a draw of its own.
    days = np.arange(unseen.height) if CONTRACT.time is None else days_of(unseen[CONTRACT.time])
    found = bias(unseen["truth"].cast(pl.Float64).to_numpy(), unseen["score"].cast(pl.Float64).to_numpy(), days)
    return found and Bias(value=significant(found.value, 6), error=significant(found.error, 6), days=found.days)
