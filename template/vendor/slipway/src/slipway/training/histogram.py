"""Counting values by bounds: what a model expects of its scores, and what a server sees of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec
import numpy as np


class Histogram(msgspec.Struct):
    """How often values fell at or below each of the rising `bounds` and above the one before, and their sum.

    The last of the `counts` is that of values beyond all bounds.
    """

    bounds: list[float]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def of(cls, bounds: Sequence[float]) -> Histogram:
        """A histogram that has seen nothing."""
        return cls([*bounds], [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count many values at once; of one alone, the other way is quicker."""
        if not values:
            return
        places = np.searchsorted(self.bounds, values)
        found = np.bincount(places, minlength=len(self.counts)).tolist()
        self.counts[:] = [one + more for one, more in zip(self.counts, found, strict=True)]
        self.total += sum(values)

    def add(self, other: Histogram) -> None:
        """Take in another one. Raises `ValueError` when its bounds are not the same."""
        if self.bounds != other.bounds:
            raise ValueError(f"bounds {other.bounds} are not {self.bounds}")
        self.counts = [one + more for one, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
