"""How sure the change of a figure is, where two models have answered the same rows.

Rows are drawn with replacement, for both models the same ones, and the change is measured anew: a paired bootstrap,
with percentiles as the interval (B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapters 13 and
16; for two systems on one test set, P. Koehn, EMNLP 2004). Where the contract names a time, whole days are drawn,
because rows of a day are alike (C. Field and A. Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical
Society B 69(3), 2007).

The metrics are the team's own, so each draw asks them twice, and they are what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway.base.numbers import counted, significant
from slipway.kinds.base import Scores
from slipway.team import CONTRACT

DRAWS, SEED = 400, 0
#: Of fewer days, what is drawn says little about other days.
LEAST_UNITS = 10
CONFIDENCE = 0.95

#: Truth and scores of some rows to figures by their names.
Truth = NDArray[Any]
Measure = Callable[[Truth, Scores], Mapping[str, float]]


class ChangeIntervals(msgspec.Struct, frozen=True):
    """From where to where the change of each figure may be, what was drawn, and why a figure has no interval."""

    by_figure: dict[str, tuple[float, float]]
    drawn: str
    remarks: list[str]


def changes(
    frame: pl.DataFrame, truth: Truth, scores: tuple[Scores, Scores], measures: tuple[Measure, Measure]
) -> ChangeIntervals:
    """Draw the change from the first model's figures to the second's, 400 times; the same rows give the same answer.

    Of `frame`, the test rows, only the time is read.
    """
    days = _days(frame)
    many, noun = (len(truth), "row") if days is None else (len(days), "day")
    if many < LEAST_UNITS:
        few = f"no intervals: the test rows are of {counted(many, noun)}, and {LEAST_UNITS} are needed"
        return ChangeIntervals({}, "", [few])
    chance = np.random.default_rng(SEED)
    whole = [_measured(measure, truth, one) for measure, one in zip(measures, scores, strict=True)]
    found: dict[str, list[float]] = {name: [] for name in whole[0].keys() & whole[1].keys()}
    for _ in range(DRAWS):
        picked = chance.integers(many, size=many)
        rows = picked if days is None else np.concatenate([days[day] for day in picked])
        before, after = (
            _measured(measure, truth[rows], one[rows]) for measure, one in zip(measures, scores, strict=True)
        )
        for name, drawn in found.items():
            drawn.append(after.get(name, np.nan) - before.get(name, np.nan))
    return _intervals(found, f"{DRAWS} draws of {counted(many, noun)}")


def _measured(measure: Measure, truth: Truth, scores: Scores) -> Mapping[str, float]:
    try:
        return measure(truth, scores)
    except Exception:  # noqa: BLE001 - the team's code may raise anything for rows that cannot be measured
        return {}


def _intervals(found: Mapping[str, list[float]], drawn: str) -> ChangeIntervals:
    outside = (1 - CONFIDENCE) / 2
    intervals, remarks = {}, []
    for name, values in sorted(found.items()):
        if missing := int((~np.isfinite(values)).sum()):
            remarks.append(f"no interval for {name}: metrics.py gives no number for {missing} of {DRAWS} draws of rows")
        else:
            low, high = np.quantile(values, [outside, 1 - outside])
            intervals[name] = significant(float(low), 6), significant(float(high), 6)
    return ChangeIntervals(intervals, drawn, remarks)


def _days(frame: pl.DataFrame) -> list[NDArray[np.intp]] | None:
    """The rows of each day; `None` where the contract names no time."""
    if CONTRACT.time is None:
        return None
    days = np.unique(frame[CONTRACT.time].dt.date().to_physical().to_numpy(), return_inverse=True)[1]
    return np.split(np.argsort(days, kind="stable"), np.cumsum(np.bincount(days))[:-1])
