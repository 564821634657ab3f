"""Cross-validation within the training rows: what is learned from, and what is measured on, several times over.

Rows with a time are asked about what came after what was learned from, as the split asks the test rows (rolling origin
with a growing window: Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of Forecasting
16(4), 2000). Rows without one fall into folds by a digest of their key, which is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway.base.errors import MlopsError
from slipway.data.prepare import stable_share
from slipway.team import CONTRACT

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fold:
    """Which rows are learned from, and which are asked about."""

    learned: Mask
    asked: Mask


def folds_of(rows: pl.DataFrame, count: int) -> list[Fold]:
    """Divide rows into folds: by the contract's time if it names one, else by digest of the key.

    Folds of another `count` have other borders. Raises `MlopsError` when a fold would be empty.
    """
    folds = _by_time(rows[CONTRACT.time].to_numpy(), count) if CONTRACT.time else _by_digest(rows, count)
    if any(not fold.learned.any() or not fold.asked.any() for fold in folds):
        what = f"different values of {CONTRACT.time}" if CONTRACT.time else "rows"
        raise MlopsError(
            f"the {rows.height:,} training rows have too few {what} for {count} folds",
            "set search.folds in params.yaml lower, or learn from more rows",
        )
    return folds


def _by_time(times: NDArray[np.datetime64], count: int) -> list[Fold]:
    """The later half in parts of as many rows; rows of one moment stay together.

    Each part is asked about after everything before it was learned: of less than half of the rows other parameters
    would be the best than of all.
    """
    ordered = np.sort(times)
    borders = [ordered[len(ordered) * (count + number) // (2 * count)] for number in range(count)]
    ends = [*borders[1:], None]
    return [
        Fold(times < start, (times >= start) if end is None else (times >= start) & (times < end))
        for start, end in zip(borders, ends, strict=True)
    ]


def _by_digest(rows: pl.DataFrame, count: int) -> list[Fold]:
    # The number of folds is part of what is digested: the split has used the digest of the key alone.
    shares = np.array([stable_share(("fold", count, *key)) for key in rows.select(CONTRACT.key).iter_rows()])
    places = (shares * count).astype(int)
    return [Fold(places != place, places == place) for place in range(count)]
