"""Columns counted over bins that only the reference decides, and the days that their rows are of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway.training.reference import days_of

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

MISSING = "missing"
DECILES = np.linspace(0, 1, 11)

#: Fewer days of the reference do not tell how much days differ.
FEWEST_DAYS = 10

#: Enough for a mean and a variance; the same ones in every run.
DRAWS, SEED = 400, 0


class Bin(msgspec.Struct, frozen=True):
    """A group of rows: its share of the reference and of the rows now, both from 0 to 1."""

    label: str
    reference: float
    now: float


class FarValues(msgspec.Struct, frozen=True):
    """Numbers far outside of all that the reference holds: how many rows of now, the farthest, and what is held.

    `p_value` is the chance of so many beyond the reference when nothing has changed.
    """

    rows: int
    farthest: float
    lowest: float
    highest: float
    p_value: float

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series) -> FarValues | None:
        """Look for them; none are there in what is no number.

        Far is what lies beyond the reference by more than its whole range: no season does that, another unit does.
        """
        if not (reference.dtype.is_numeric() and current.dtype.is_numeric()):
            return None
        held, now = (side.cast(pl.Float64).drop_nulls().drop_nans().to_numpy() for side in (reference, current))
        if not held.size:
            return None
        lowest, highest = float(held.min()), float(held.max())
        beyond = np.maximum(lowest - now, now - highest)
        far = now[beyond > highest - lowest]
        if not far.size:
            return None
        # Of all rows in order, the outermost are all of now: any other order is as likely. Either end may be it.
        order = np.arange(far.size)
        p_value = min(1.0, 2 * float(np.prod((now.size - order) / (now.size + held.size - order))))
        return cls(far.size, float(now[beyond.argmax()]), lowest, highest, p_value)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        held = f"{self.lowest:,.6g} to {self.highest:,.6g}"
        return f"is far from {held}, which is all the reference has, in {self.rows:,} rows: {self.farthest:,.6g}"


@dataclass(frozen=True)
class Days:
    """The day of each row of the reference, counted from 0, and draws from all of them.

    A draw, one line of `drawn`, says how often it took each day, in all as many as the rows of now are worth.
    """

    places: Ints
    drawn: Ints

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series) -> Days | None:
        """Read the days from the times of the rows; `None` where they are too few to tell anything."""
        before, places = np.unique(days_of(reference), return_inverse=True)
        now = np.unique(days_of(current), return_counts=True)[1]
        if len(before) < FEWEST_DAYS or not now.size:
            return None
        # Days with few rows count less (L. Kish, "Survey Sampling", 1965).
        worth = round(now.sum() ** 2 / np.square(now, dtype=np.float64).sum())
        equal = np.full(len(before), 1 / len(before))
        return cls(places, np.random.default_rng(SEED).multinomial(worth, equal, size=DRAWS))

    def table(self, bins: Ints, width: int) -> Ints:
        """Count the rows of the reference by day and by bin."""
        height = self.drawn.shape[1]
        return np.bincount(self.places * width + bins, minlength=height * width).reshape(height, width)


@dataclass(frozen=True)
class BinCounts:
    """The name of each bin, how many rows of the reference and of now it holds, and of the reference by day."""

    labels: list[str]
    before: Ints
    now: Ints
    by_day: Ints | None = None

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series, days: Days | None = None) -> BinCounts:
        """Count both columns over the same bins: numbers by size, anything else by name; missing values have a bin."""
        labels, (old, new) = (_by_size if reference.dtype.is_numeric() else _by_name)(reference, current)
        before, now = (np.bincount(bins, minlength=len(labels)) for bins in (old, new))
        return cls(labels, before, now, days.table(old, len(labels)) if days else None)

    def shares(self) -> list[Bin]:
        """Each bin that has a row on either side, with its share of both."""
        before, now = (counts / max(1, counts.sum()) for counts in (self.before, self.now))
        return [
            Bin(label, float(one), float(other))
            for label, one, other in zip(self.labels, before, now, strict=True)
            if one or other
        ]


def decile_edges(reference: Floats) -> Floats:
    """Return the edges between bins that each hold about a tenth of the reference, given in ascending order.

    A value that alone fills a tenth or more, such as the zero of a rain gauge, gets a bin of
    its own: between its own edge and that of the next number a computer knows.
    """
    known = reference[: np.searchsorted(reference, np.nan)]
    if not known.size:
        return np.empty(0)
    places = np.ceil(DECILES * len(known)).astype(np.int64) - 1
    values, times = np.unique(known[np.maximum(places, 0)], return_counts=True)
    heavy = values[times > 1]
    return np.unique(np.concatenate([values[1:-1], heavy, np.nextafter(heavy, np.inf)]))


def place(values: Floats, edges: Floats) -> Ints:
    """Return the bin of each value: from each edge to just below the next, and a last one for NaN, the missing ones.

    >>> place(np.array([2.0, 1.0, np.nan, 2.5]), np.array([2.0])).tolist()
    [1, 0, 2, 1]
    """
    # NaN counts as larger than everything, and as equal to itself.
    return np.searchsorted([*edges, np.nan], values, side="right")


def ranges(edges: Floats) -> list[str]:
    """Name the bins between edges with as many decimals as tell them apart, and one more."""
    if not edges.size:
        return ["any value"]
    apart = len({f"{edge:.12g}" for edge in edges})
    decimals = next((n for n in range(12) if len({f"{edge:.{n}f}" for edge in edges}) >= apart), 12)
    texts = [f"{edge:,.15g}" for edge in edges.round(decimals + 1) + 0.0]  # no minus before a zero
    inner = [low if low == high else f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *inner, f"above {texts[-1]}"]


def percent(share: float) -> str:
    """Write a share of rows for people."""
    return f"{100 * share:.1f} %"


def _by_size(*sides: pl.Series) -> tuple[list[str], list[Ints]]:
    """Name the bins of numbers, and find that of each; the reference is the first side."""
    numbers = [side.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy() for side in sides]
    edges = decile_edges(np.sort(numbers[0]))
    return [*ranges(edges), MISSING], [place(values, edges) for values in numbers]


def _by_name(*sides: pl.Series) -> tuple[list[str], list[Ints]]:
    """Let each name be a bin, the most frequent of the reference first."""
    names = [side.cast(pl.String).fill_null(MISSING) for side in sides]
    before = dict(names[0].alias("label").value_counts().iter_rows())
    labels = sorted({*before, *names[1].unique()}, key=lambda label: (-before.get(label, 0), label))
    return labels, [side.cast(pl.Enum(labels)).to_physical().cast(pl.Int64).to_numpy() for side in names]
