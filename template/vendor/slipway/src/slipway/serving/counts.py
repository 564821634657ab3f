"""The numbers of a server process: plain, because they are added to for each request, and easy to sum up."""

from __future__ import annotations

import msgspec

from slipway.training.histogram import Histogram

#: A count for each value of a label: a version, a field, a status.
ByLabel = dict[str, int]

BY_LABEL = (
    "requests",
    "predictions",
    "positives",
    "shadows",
    "violations",
    "missing",
    "challenger",
    "copies",
    "labels",
)
HISTOGRAMS = ("seconds", "scores", "ages", "in_progress")


class Counts(msgspec.Struct):
    """The numbers of one process, or of several together.

    `requests` are by status, `predictions`, `positives` and `shadows` (rows) by version, `classes` (rows) by version
    and class, `violations` and `missing` (values) by field, `challenger` (requests of a canary), `copies` (requests
    for a shadow) and `labels` (that were posted) by what became of them. By version are `seconds` (of answered
    requests), `scores` (of rows), `ages` (of requests, in seconds), `in_progress` (what a request found there before
    it), the scores that are `expected`, and `since` when (Unix time, seconds).
    """

    requests: ByLabel = {}
    predictions: ByLabel = {}
    positives: ByLabel = {}
    shadows: ByLabel = {}
    violations: ByLabel = {}
    missing: ByLabel = {}
    challenger: ByLabel = {}
    copies: ByLabel = {}
    labels: ByLabel = {}
    classes: dict[str, ByLabel] = {}
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
        for version, answers in other.classes.items():
            for name, value in answers.items():
                count(self.classes.setdefault(version, {}), name, value)
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
