"""The numbers of a server process: plain, because they are added to for each request, and easy to sum up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec
import numpy as np

#: A count for each value of a label: a version, a field, a status.
ByLabel = dict[str, int]

BY_LABEL = ("requests", "predictions", "positives", "shadows", "violations", "missing", "challenger", "copies")
HISTOGRAMS = ("seconds", "scores", "ages", "in_progress")


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


class Counts(msgspec.Struct):
    """The numbers of one process, or of several together.

    `requests` are by status, `predictions`, `positives` and `shadows` (rows) by version, `violations` and `missing`
    (values) by field, `challenger` (requests of a canary) and `copies` (requests for a shadow) by what became of
    them. By version are `seconds` (of answered requests), `scores` (of rows), `ages` (of requests, in seconds),
    `in_progress` (what a request found there before it), the scores that are `expected`, and `since` when
    (Unix time, seconds).
    """

    requests: ByLabel = {}
    predictions: ByLabel = {}
    positives: ByLabel = {}
    shadows: ByLabel = {}
    violations: ByLabel = {}
    missing: ByLabel = {}
    challenger: ByLabel = {}
    copies: ByLabel = {}
    log_rows: int = 0
    log_failures: int = 0
    seconds: dict[str, Histogram] = {}
    scores: dict[str, Histogram] = {}
    ages: dict[str, Histogram] = {}
    in_progress: dict[str, Histogram] = {}
    expected: dict[str, Histogram] = {}
    since: dict[str, float] = {}

    def add(self, other: Counts) -> None:
        """Take in the numbers of another process; of what does not add up, the earliest or either one stays."""
        for name in BY_LABEL:
            counts: ByLabel = getattr(self, name)
            for key, value in getattr(other, name).items():
                count(counts, key, value)
        self.log_rows += other.log_rows
        self.log_failures += other.log_failures
        for name in HISTOGRAMS:
            histograms: dict[str, Histogram] = getattr(self, name)
            for version, histogram in getattr(other, name).items():
                histograms.setdefault(version, Histogram.of(histogram.bounds)).add(histogram)
        self.expected |= other.expected
        for version, since in other.since.items():
            self.since[version] = min(since, self.since.get(version, since))


def count(counts: ByLabel, key: str, more: int = 1) -> None:
    """Add to the number of a label."""
    counts[key] = counts.get(key, 0) + more
