"""What the server counts, in the words of Prometheus.

Counting is adding to plain numbers, because the hot path does it for each request. Several times a second
each server process writes its numbers to a file of its own, and whichever process is asked for
metrics adds up all of them. A process that is killed takes the last tenth of a second along.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as EXPOSITION_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from .native import Traffic
from .predictions import PredictionLog

__all__ = ["EXPOSITION_TYPE", "Counts", "Telemetry"]

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Tally = dict[str, int]


class Counts(msgspec.Struct):
    """The numbers of one process, or of several together.

    `requests` are by status, `predictions` and `shadows` (rows) by version, `violations` by field, `challenger`
    (requests of a canary) and `copies` (requests for a shadow) by what became of them. `buckets` are the answered
    requests of a version by `SECONDS`, `seconds` their sum.
    """

    requests: Tally = {}
    predictions: Tally = {}
    shadows: Tally = {}
    violations: Tally = {}
    challenger: Tally = {}
    copies: Tally = {}
    log_rows: int = 0
    log_failures: int = 0
    buckets: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}

    def add(self, other: Counts) -> None:
        """Take in the numbers of another process."""
        for name in ("requests", "predictions", "shadows", "violations", "challenger", "copies"):
            tally: Tally = getattr(self, name)
            for key, value in getattr(other, name).items():
                count(tally, key, value)
        self.log_rows += other.log_rows
        self.log_failures += other.log_failures
        for version, buckets in other.buckets.items():
            ours = self.buckets.get(version, [0] * len(buckets))
            self.buckets[version] = [one + more for one, more in zip(ours, buckets, strict=True)]
            self.seconds[version] = self.seconds.get(version, 0.0) + other.seconds[version]

    def took(self, version: str, seconds: float) -> None:
        """Count an answered request by the time that it took."""
        if version not in self.buckets:
            self.buckets[version] = [0] * (len(SECONDS) + 1)
            self.seconds[version] = 0.0
        self.buckets[version][bisect_left(SECONDS, seconds)] += 1
        self.seconds[version] += seconds


def count(tally: Tally, key: str, more: int = 1) -> None:
    """Add to one number of a tally."""
    tally[key] = tally.get(key, 0) + more


class Telemetry(Collector):
    """The counts of one server process, and the metrics of all that share the `folder`."""

    def __init__(
        self,
        version: str,
        log: PredictionLog | None,
        model: dict[str, str],
        folder: Path | None = None,
        workers: int = 1,
    ) -> None:
        self.counts = Counts()
        self.traffic: Traffic | None = None
        self._version = version
        self._log = log
        self._model = model
        self._file = folder / f"{secrets.token_hex(4)}.json" if folder else None
        self._published = b""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        if workers == 1:  # the memory of one process of several would look like the memory of all
            ProcessCollector(registry=self._registry)

    def answered(self, rows: int, seconds: float) -> None:
        """Count a request that got its predictions from this process."""
        counts = self.counts
        count(counts.requests, "200")
        count(counts.predictions, self._version, rows)
        counts.took(self._version, seconds)

    def forwarded(self, seconds: float) -> None:
        """Count a request that got its predictions from the challenger, which counts the rows itself."""
        count(self.counts.requests, "200")
        self.counts.took(str(self.traffic.version if self.traffic else ""), seconds)

    def predicted(self, rows: int) -> None:
        """Count the rows of a request that the champion passed on to this process."""
        count(self.counts.predictions, self._version, rows)

    def shadowed(self, rows: int) -> None:
        """Count rows that were scored and shown to nobody."""
        count(self.counts.shadows, self._version, rows)

    def refused(self, status: int, fields: list[str]) -> None:
        """Count a request that got no prediction, and the fields that were to blame."""
        count(self.counts.requests, str(status))
        for field in fields:
            count(self.counts.violations, field)

    def publish(self) -> None:
        """Write the numbers where the other processes find them. A full disk costs metrics, no answer."""
        if self._file is None:
            return
        encoded = msgspec.json.encode(self._own())
        if encoded == self._published:
            return
        draft = self._file.with_suffix(".draft")
        try:
            draft.write_bytes(encoded)
            draft.replace(self._file)
        except OSError:
            return
        self._published = encoded

    def exposition(self) -> bytes:
        """All metrics as text, as a Prometheus server reads them."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The numbers of every process, as metrics."""
        counts = self._together()
        yield _counter("requests", "Requests for predictions, by status.", "status", counts.requests)
        yield _counter("predictions", "Rows answered, by model version.", "version", counts.predictions)
        yield _counter("contract_violations", "Values that broke the contract.", "field", counts.violations)
        yield _counter(
            "challenger_requests", "Requests for the challenger, by what came of it.", "outcome", counts.challenger
        )
        yield _counter("shadow_copies", "Requests copied for the challenger, or not.", "outcome", counts.copies)
        yield _counter("shadow_predictions", "Rows scored and shown to nobody, by version.", "version", counts.shadows)
        yield CounterMetricFamily("mlops_prediction_log_rows", "Predictions written to the log.", value=counts.log_rows)
        yield CounterMetricFamily(
            "mlops_prediction_log_failures", "Predictions that could not be written.", value=counts.log_failures
        )
        times = HistogramMetricFamily(
            "mlops_prediction_seconds", "From a read request to its answer, by model version.", labels=["version"]
        )
        for version, buckets in counts.buckets.items():
            named = zip([*map(str, SECONDS), "+Inf"], accumulate(buckets), strict=True)
            times.add_metric([version], [*named], counts.seconds[version])
        yield times
        yield from self._facts()

    def _facts(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("mlops_model_info", "The model that answers.", labels=[*self._model])
        info.add_metric([*self._model.values()], 1)
        yield info
        if self.traffic:
            share = GaugeMetricFamily(
                "mlops_challenger_share", "The challenger's part of the requests.", labels=["version", "mode"]
            )
            share.add_metric([str(self.traffic.version), self.traffic.mode], self.traffic.share)
            yield share

    def _own(self) -> Counts:
        if self._log is not None:
            self.counts.log_rows, self.counts.log_failures = self._log.written, self._log.failed
        return self.counts

    def _together(self) -> Counts:
        total = Counts()
        total.add(self._own())
        folders = [self._file.parent] if self._file else []
        folders += [Path(self.traffic.counts)] if self.traffic else []
        for path in (path for folder in folders for path in folder.glob("*.json") if path != self._file):
            try:
                total.add(msgspec.json.decode(path.read_bytes(), type=Counts))
            except (OSError, msgspec.DecodeError, ValueError):  # a group that is just leaving
                continue
        return total


def _counter(name: str, text: str, label: str, tally: Tally) -> CounterMetricFamily:
    family = CounterMetricFamily(f"mlops_{name}", text, labels=[label])
    for key, value in tally.items():
        family.add_metric([key], value)
    return family
