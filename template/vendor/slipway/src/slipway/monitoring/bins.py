"""Columns counted over bins that only the reference decides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl

from slipway.monitoring.days import Floats, Ints

MISSING = "missing"
#: So many rows, evenly spread, tell deciles of all.
DECILES, ENOUGH = np.linspace(0, 1, 11), 200_000

#: Whole numbers with more values than this are quantities; with fewer they may be codes, whose neighbours mean nothing.
MOST_CODES = 50

#: More names than this are shown together, as others and as new ones.
MOST_NAMES = 100
OTHERS, NEW = "other values", "new values"


class Bin(msgspec.Struct, frozen=True):
    """A group of rows: its share of the reference and of the rows now, both from 0 to 1."""

    label: str
    reference: float
    now: float


@dataclass(frozen=True)
class BinCounts:
    """The name of each bin, its rows in the reference and now, and the bin of each row of the reference."""

    labels: list[str]
    before: Ints
    now: Ints
    places: Ints

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series) -> BinCounts:
        """Count both columns over the same bins, which the reference decides; missing values have one.

        Numbers are counted by size, anything else by name, and so are whole numbers of few values.
        """
        return (_by_size if is_quantity(reference) else _by_name)(reference, current)

    def shares(self) -> list[Bin]:
        """Each bin that has a row on either side, with its share of both; of very many names, rare ones together."""
        before, now = (counts / max(1, counts.sum()) for counts in (self.before, self.now))
        shown = np.argsort(-np.maximum(before, now), kind="stable")[:MOST_NAMES]
        found = [
            Bin(self.labels[at], float(before[at]), float(now[at])) for at in sorted(shown) if before[at] or now[at]
        ]
        rest = np.setdiff1d(np.arange(len(self.labels)), shown)
        for label, part in ((OTHERS, rest[self.before[rest] > 0]), (NEW, rest[self.before[rest] == 0])):
            if part.size:
                found.append(Bin(label, float(before[part].sum()), float(now[part].sum())))
        return found


def decile_edges(reference: Floats) -> Floats:
    """Return the edges between bins that each hold about a tenth of the reference.

    A value that alone fills a tenth or more, such as the zero of a rain gauge, gets a bin of
    its own: between its own edge and that of the next number a computer knows.
    """
    known = reference[:: 1 + reference.size // ENOUGH]
    known = known[~np.isnan(known)]
    if not known.size:
        return np.empty(0)
    places = np.maximum(np.ceil(DECILES * len(known)).astype(np.int64) - 1, 0)
    values, times = np.unique(np.partition(known, places)[places], return_counts=True)
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


def is_quantity(column: pl.Series) -> bool:
    """Whether a column is counted by size: numbers, but whole ones only where they have many values.

    Few may be codes, whose neighbours have nothing in common.
    """
    if not column.dtype.is_integer():
        return column.dtype.is_numeric()
    return column[:1_000].n_unique() > MOST_CODES or column.n_unique() > MOST_CODES


def as_numbers(column: pl.Series) -> Floats:
    """A column as floating point numbers, NaN where it holds none."""
    return column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _by_size(reference: pl.Series, current: pl.Series) -> BinCounts:
    """Let a bin hold about a tenth of the reference."""
    numbers = [as_numbers(side) for side in (reference, current)]
    edges = decile_edges(numbers[0])
    labels = [*ranges(edges), MISSING]
    old, new = (place(values, edges) for values in numbers)
    before, now = (np.bincount(side, minlength=len(labels)) for side in (old, new))
    return BinCounts(labels, before, now, old)


def _by_name(reference: pl.Series, current: pl.Series) -> BinCounts:
    """Let each name be a bin: those of the reference first, the most frequent of them at the head."""
    old, new = (pl.DataFrame({"label": side}) for side in (reference, current))
    if old.schema != new.schema:
        old, new = (side.cast(pl.String) for side in (old, new))
    counted = (
        old.group_by("label")
        .len()
        .join(new.group_by("label").len("now"), on="label", how="full", coalesce=True, nulls_equal=True)
        .with_columns(pl.col("len", "now").fill_null(0).cast(pl.Int64), name=pl.col("label").cast(pl.String))
        .sort(["len", "name"], descending=[True, False])
        .with_row_index("bin")
    )
    places = old.join(counted.select("label", "bin"), on="label", how="left", nulls_equal=True, maintain_order="left")
    labels = counted["name"].fill_null(MISSING).to_list()
    before, now = (counted[side].to_numpy() for side in ("len", "now"))
    return BinCounts(labels, before, now, places["bin"].cast(pl.Int64).to_numpy())
