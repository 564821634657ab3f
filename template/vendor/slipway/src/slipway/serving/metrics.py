"""What the server counts, in the words of Prometheus.

A request is only noted. Counting what many left takes a fraction of the time that it would take for each alone.
Several times a second each server process writes its numbers to a file of its own, and whichever process is asked for
metrics adds up all of them. A process that is killed takes the last tenth of a second along.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from operator import attrgetter, countOf
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as EXPOSITION_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from slipway import kinds
from slipway.base import files
from slipway.contract.rows import Contract, Row
from slipway.delivery.target import Traffic
from slipway.serving.context import ServingContext
from slipway.serving.counts import ByLabel, Counts, count
from slipway.serving.predictor import Made
from slipway.team import CONTRACT
from slipway.training.histogram import Histogram

__all__ = ["EXPOSITION_TYPE", "Telemetry", "Watch"]

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

#: From a minute to a year, in seconds.
AGES = (60.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0)

#: Of the requests that may be in progress.
PARTS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

#: As soon as so many rows are noted they are counted: requests that come meanwhile have to wait.
MOST_NOTED = 200


class Watch:
    """What is looked at in the rows of an answered request: the values that may be missing, and the time."""

    def __init__(self, contract: Contract) -> None:
        self._optional = [(field.name, attrgetter(field.name)) for field in contract.fields if field.optional]
        self._time = attrgetter(contract.time) if contract.time else None
        self.age_limit = contract.max_age_days * 86_400.0 if contract.time and contract.max_age_days else None

    def missing(self) -> ByLabel:
        """A count of 0 for each field that may be missing."""
        return {name: 0 for name, _ in self._optional}

    def ages(self) -> Histogram | None:
        """A histogram for ages in seconds, if rows have a time; what is old by the contract is a bound of its own."""
        limits = {self.age_limit, 2 * self.age_limit} if self.age_limit else set[float]()
        return None if self._time is None else Histogram.of(sorted({*AGES, *limits}))

    def look(self, rows: Sequence[Row], missing: ByLabel, ages: Histogram | None) -> None:
        """Count what is missing in the rows of as many requests, and how old each row is."""
        times = self._times(rows, missing)
        if ages is not None:
            ages.observe_all(_ages(times))

    def look_together(self, rows: Sequence[Row], missing: ByLabel, ages: Histogram | None) -> None:
        """Count what is missing in the rows of one request, and how old its newest row is."""
        times = self._times(rows, missing)
        if ages is not None and times:
            try:
                newest = [max(times)]
            except TypeError:  # some have a zone, others none
                newest = times
            ages.observe(min(_ages(newest)))

    def _times(self, rows: Sequence[Row], missing: ByLabel) -> list[datetime]:
        for name, value in self._optional:
            missing[name] += countOf(map(value, rows), None)
        return [] if self._time is None else [at for at in map(self._time, rows) if at is not None]


def _ages(times: Sequence[datetime]) -> list[float]:
    """Seconds since then, 0 for times to come. A time without a zone counts as UTC, as it does in columns."""
    now = datetime.now(UTC)
    naive = now.replace(tzinfo=None)
    return [max(0.0, ((now if at.tzinfo else naive) - at).total_seconds()) for at in times]


class Telemetry(Collector):
    """The counts of one server process, and the metrics of all that share the `folder`."""

    def __init__(self, context: ServingContext) -> None:
        bundle = context.scorer.bundle
        self.counts = Counts(since={context.version: round(time.time(), 3)})
        self.traffic: Traffic | None = None
        self._version = context.version
        self._watch = Watch(CONTRACT)
        self._expected = bundle.expected
        kind = kinds.named(bundle.model.kind, bundle.model.classes)
        self._decides, self._classes = kind.has_positives, kind.classes
        self._room = context.policy.max_in_progress
        self._log = context.log
        self._model = {key: str(value or "") for key, value in context.identity.items()}
        self._file = context.counts / f"{secrets.token_hex(4)}.json" if context.counts else None
        self._published = b""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        if context.workers == 1:  # the memory of one process of several would look like the memory of all
            ProcessCollector(registry=self._registry)
        self._prepare()
        # Flat lists, for the garbage collector's sake. The first three are of requests with one row, as most are.
        self._rows: list[Row] = []
        self._scored: list[float] = []
        self._answers: list[Any] = []
        self._took: list[float] = []
        self._arrivals: list[int] = []
        #: Note how many seconds a request took that got its predictions from this process.
        self.took = self._took.append
        #: Note a request by how many others were in progress when it came.
        self.arrived = self._arrivals.append

    def _prepare(self) -> None:
        """Begin each histogram, and each count whose name is known, at 0: a rate needs to see the first one."""
        counts, version = self.counts, self._version
        self._seconds = counts.seconds[version] = Histogram.of(SECONDS)
        self._scores = counts.scores[version] = Histogram.of(self._expected.scores.bounds)
        self._in_progress = counts.in_progress[version] = Histogram.of([part * self._room for part in PARTS])
        self._ages = self._watch.ages()
        if self._ages:
            counts.ages[version] = self._ages
        if any(self._expected.scores.counts):
            counts.expected[version] = self._expected.scores
        counts.missing = self._watch.missing()
        counts.violations = {field.name: 0 for field in CONTRACT.fields}
        counts.predictions[version] = 0
        if self._decides:
            counts.positives[version] = 0
        if self._classes:
            counts.classes[version] = dict.fromkeys(self._classes, 0)

    def scored(self, rows: Sequence[Row], scores: Sequence[float], answers: Sequence[Any]) -> None:
        """Note rows that were scored together, each of a request of its own."""
        self._rows += rows
        self._scored += scores
        self._answers += answers
        if len(self._rows) >= MOST_NOTED:
            asyncio.get_running_loop().call_soon(self._count)  # the answers go out first

    def forwarded(self, seconds: float) -> None:
        """Count a request that got its predictions from the challenger, which counts the rows itself."""
        count(self.counts.requests, "200")
        version = str(self.traffic.version if self.traffic else "")
        self.counts.seconds.setdefault(version, Histogram.of(SECONDS)).observe(seconds)

    def predicted(self, rows: Sequence[Row], made: Sequence[Made]) -> None:
        """Count the rows of one request at once: to keep many would cost more than it saves."""
        self._count_answers([one.answer for one in made], [one.score for one in made])
        self._watch.look_together(rows, self.counts.missing, self._ages)

    def shadowed(self, made: Sequence[Made]) -> None:
        """Count rows that were scored and shown to nobody."""
        count(self.counts.shadows, self._version, len(made))
        self._scores.observe_all([one.score for one in made])

    def refused(self, status: int, fields: list[str]) -> None:
        """Count a request that got no prediction, and the fields that were to blame."""
        count(self.counts.requests, str(status))
        for field in fields:
            count(self.counts.violations, field)

    def publish(self) -> None:
        """Write the numbers where the other processes find them. A full disk costs metrics, no answer."""
        own = self._own()
        if self._file is None:
            return
        encoded = msgspec.json.encode(own)
        if encoded == self._published:
            return
        try:
            files.write(self._file, encoded)
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
        if self._decides:
            yield _counter("positive_predictions", "Rows answered with yes, by version.", "version", counts.positives)
        if self._classes:
            yield _by_class(counts.classes)
        yield _counter("missing_values", "Values missing in answered rows.", "field", counts.missing)
        yield _counter("contract_violations", "Values that broke the contract.", "field", counts.violations)
        yield _counter(
            "challenger_requests", "Requests for the challenger, by what came of it.", "outcome", counts.challenger
        )
        yield _counter("shadow_copies", "Requests copied for the challenger, or not.", "outcome", counts.copies)
        yield _counter("shadow_predictions", "Rows scored and shown to nobody, by version.", "version", counts.shadows)
        if counts.labels:
            yield _counter("labels", "Labels that were posted, by what came of them.", "outcome", counts.labels)
        yield CounterMetricFamily("mlops_prediction_log_rows", "Predictions written to the log.", value=counts.log_rows)
        yield CounterMetricFamily(
            "mlops_prediction_log_failures", "Predictions that could not be written.", value=counts.log_failures
        )
        yield _histogram("prediction_seconds", "From a read request to its answer.", counts.seconds)
        yield _histogram("prediction_score", "Scores of rows, also of those shown to nobody.", counts.scores)
        yield _histogram("reference_score", "Scores of test rows, which the model did not learn from.", counts.expected)
        yield _histogram("row_age_seconds", "Age of a request's newest row when it is answered.", counts.ages)
        yield _histogram(
            "requests_in_progress", "Requests that a new one finds in progress in its worker.", counts.in_progress
        )
        yield from self._facts(counts)

    def _facts(self, counts: Counts) -> Iterator[Metric]:
        yield _gauge("model_info", "The model that answers.", [*self._model], {(*self._model.values(),): 1})
        since = {(version,): since for version, since in counts.since.items()}
        yield _gauge("serving_since_timestamp_seconds", "Since when a version is served here.", ["version"], since)
        yield _gauge("requests_in_progress_limit", "Room for requests, in each worker.", [], {(): self._room})
        waiting = self._log.waiting_s() if self._log else None
        if waiting is not None:
            text = "For how long the oldest prediction has waited to be uploaded."
            yield _gauge("prediction_log_waiting_seconds", text, [], {(): waiting})
        if self._watch.age_limit:
            yield _gauge("row_age_limit_seconds", "From what age on a row is old.", [], {(): self._watch.age_limit})
        missing = self._expected.missing.items()
        yield _gauge(
            "reference_missing_ratio",
            "Part of the values that was missing when the model learned.",
            ["field"],
            {(name,): part for name, part in missing},
        )
        if self.traffic:
            share = {(str(self.traffic.version), self.traffic.mode): self.traffic.share}
            yield _gauge("challenger_share", "The challenger's part of the requests.", ["version", "mode"], share)

    def _count(self) -> None:
        """Count what was noted since the last time."""
        counts = self.counts
        self._in_progress.observe_all(self._arrivals)
        self._arrivals.clear()
        self._seconds.observe_all(self._took)
        count(counts.requests, "200", len(self._took))
        self._took.clear()
        if self._rows:
            self._count_answers(self._answers, self._scored)
            self._watch.look(self._rows, counts.missing, self._ages)
        for noted in (self._rows, self._answers, self._scored):
            noted.clear()

    def _count_answers(self, answers: Sequence[Any], scores: Sequence[float]) -> None:
        self.counts.predictions[self._version] += len(answers)
        if self._decides:
            self.counts.positives[self._version] += answers.count(True)
        for name in self._classes:
            self.counts.classes[self._version][name] += answers.count(name)
        self._scores.observe_all(scores)

    def _own(self) -> Counts:
        self._count()
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


def _counter(name: str, text: str, label: str, counts: ByLabel) -> CounterMetricFamily:
    family = CounterMetricFamily(f"mlops_{name}", text, labels=[label])
    for key, value in counts.items():
        family.add_metric([key], value)
    return family


def _by_class(found: dict[str, ByLabel]) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "mlops_class_predictions", "Rows answered with each class, by version.", labels=["version", "class"]
    )
    for version, answers in found.items():
        for name, value in answers.items():
            family.add_metric([version, name], value)
    return family


def _histogram(name: str, text: str, found: dict[str, Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"mlops_{name}", text, labels=["version"])
    for version, histogram in found.items():
        named = zip([*map(str, histogram.bounds), "+Inf"], accumulate(histogram.counts), strict=True)
        family.add_metric([version], [*named], histogram.total)
    return family


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"mlops_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric([*key], value)
    return family
