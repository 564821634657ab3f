"""What the server counts, in the words of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as EXPOSITION_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from .predictions import PredictionLog

__all__ = ["EXPOSITION_TYPE", "Telemetry"]

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Telemetry:
    """The metrics of one server. Each server has its own registry, so that two in one process do not mix."""

    def __init__(self, version: str, log: PredictionLog | None, model: dict[str, str]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mlops_requests", "Requests for predictions, by status.", ["status"], registry=self._registry
        )
        self._predictions = Counter(
            "mlops_predictions", "Rows answered, by model version.", ["version"], registry=self._registry
        )
        self._violations = Counter(
            "mlops_contract_violations", "Values that broke the contract.", ["field"], registry=self._registry
        )
        self._seconds = Histogram(
            "mlops_prediction_seconds", "From a read request to its answer.", registry=self._registry, buckets=SECONDS
        )
        info = Gauge("mlops_model_info", "The model that answers.", list(model), registry=self._registry)
        info.labels(**model).set(1)
        ProcessCollector(registry=self._registry)
        if log is not None:
            self._registry.register(_LogCollector(log))
        # Looking a label up costs as much as counting: the hot path keeps its children.
        self._answered = self._requests.labels(status="200")
        self._rows = self._predictions.labels(version=version)

    def answered(self, rows: int, seconds: float) -> None:
        """Count a request that got its predictions."""
        self._answered.inc()
        self._rows.inc(rows)
        self._seconds.observe(seconds)

    def refused(self, status: int, fields: list[str]) -> None:
        """Count a request that got none, and the fields that were to blame."""
        self._requests.labels(status=str(status)).inc()
        for field in fields:
            self._violations.labels(field=field).inc()

    def exposition(self) -> bytes:
        """All metrics as text, as a Prometheus server reads them."""
        return generate_latest(self._registry)


class _LogCollector(Collector):
    """Reads the prediction log's own counters when somebody asks."""

    def __init__(self, log: PredictionLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "mlops_prediction_log_rows", "Predictions written to the log.", value=self._log.written
        )
        yield CounterMetricFamily(
            "mlops_prediction_log_failures", "Predictions that could not be written.", value=self._log.failed
        )
