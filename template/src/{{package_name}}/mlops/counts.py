"""The numbers of a server process: plain, because they are added to for each request, and easy to sum up."""

from __future__ import annotations

import msgspec

from .histogram import Histogram

Tally = dict[str, int]

TALLIES = ("requests", "predictions", "positives", "shadows", "violations", "missing", "challenger", "copies")
HISTOGRAMS = ("seconds", "scores", "ages", "in_progress")


class Counts(msgspec.Struct):
    """The numbers of one process, or of several together.

    `requests` are by status, `predictions`, `positives` and `shadows` (rows) by version, `violations` and `missing`
    (values) by field, `challenger` (requests of a canary) and `copies` (requests for a shadow) by what became of
    them. By version are `seconds` (of answered requests), `scores` (of rows), `ages` (of requests, in seconds),
    `in_progress` (what a request found there before it), the scores that are `expected`, and `since` when
    (Unix time, seconds).
    """

    requests: Tally = {}
    predictions: Tally = {}
    positives: Tally = {}
    shadows: Tally = {}
    violations: Tally = {}
    missing: Tally = {}
    challenger: Tally = {}
    copies: Tally = {}
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
        for name in TALLIES:
            tally: Tally = getattr(self, name)
            for key, value in getattr(other, name).items():
                count(tally, key, value)
        self.log_rows += other.log_rows
        self.log_failures += other.log_failures
        for name in HISTOGRAMS:
            histograms: dict[str, Histogram] = getattr(self, name)
            for version, histogram in getattr(other, name).items():
                histograms.setdefault(version, Histogram.of(histogram.bounds)).add(histogram)
        self.expected |= other.expected
        for version, since in other.since.items():
            self.since[version] = min(since, self.since.get(version, since))


def count(tally: Tally, key: str, more: int = 1) -> None:
    """Add to one number of a tally."""
    tally[key] = tally.get(key, 0) + more
