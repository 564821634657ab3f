"""Do scores mean what they say? What was expected and what happened on test rows, by bands of scores.

A curve of both is a reliability diagram. Its mean distance from the diagonal is the expected calibration error, here of
bands of equally many rows (M. Naeini, G. Cooper and M. Hauskrecht, AAAI 2015; J. Nixon and others, CVPR workshops
2019). Of several classes each has a curve and an error of its own, of its probability and of whether it was that class
(M. Kull and others, "Beyond temperature scaling", NeurIPS 2019, who take the mean of these errors); the probability of
the answer alone would hide a rare class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from slipway.base.numbers import significant

Floats = NDArray[np.float64]

#: Bands of scores, and the fewest rows of one: of few rows there are fewer bands.
BANDS, BAND_ROWS = 10, 50
#: The mean distance of a normal variable from its mean, in standard deviations.
_MEAN_DISTANCE = float(np.sqrt(2 / np.pi))


class ScoreBand(msgspec.Struct, frozen=True):
    """Rows with neighbouring scores: how many, the mean of their scores, and of what happened."""

    rows: int
    expected: float
    happened: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """The bands, and the mean distance between both of their means, in the unit of the answer.

    `chance` is the distance that scores without any error would have on so many rows.
    """

    error: float
    chance: float
    bands: list[ScoreBand]


def edges_of(scores: Floats) -> Floats:
    """Between the bands, which have equally many of these scores; equal scores are in the same band."""
    bands = min(BANDS, max(1, len(scores) // BAND_ROWS))
    return np.unique(np.quantile(scores, np.linspace(0, 1, bands + 1)[1:-1]))


def reliability(scores: NDArray[Any], truth: NDArray[Any]) -> Reliability:
    """Measure scores, one for each row, by what happened."""
    expected, happened = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    places = np.searchsorted(edges_of(expected), expected, side="right")
    rows = np.bincount(places)
    means = [np.bincount(places, values) / np.maximum(rows, 1) for values in (expected, happened)]
    spread = np.sqrt(np.bincount(places, (happened - expected) ** 2) / np.maximum(rows, 1))
    weights = rows / rows.sum()
    return Reliability(
        error=significant(float(weights @ np.abs(means[1] - means[0])), 6),
        chance=significant(float(weights @ (_MEAN_DISTANCE * spread / np.sqrt(np.maximum(rows, 1)))), 6),
        bands=[
            ScoreBand(int(many), significant(float(one), 6), significant(float(other), 6))
            for many, one, other in zip(rows, *means, strict=True)
            if many
        ],
    )


def by_class(scores: NDArray[Any], truth: NDArray[Any], classes: Sequence[str]) -> dict[str, Reliability]:
    """Measure the probability of each class, a column of `scores`, by whether `truth` is its place in `classes`."""
    return {name: reliability(scores[:, place], truth == place) for place, name in enumerate(classes)}


def worst_of(each: Mapping[str, Reliability]) -> str:
    """The class whose probability is farthest from what happened."""
    return max(each, key=lambda name: each[name].error)
