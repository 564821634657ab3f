"""What a running server says of its versions: how long their answers took, and which requests got none.

The prediction log has every answer; times and failures are only counted, in `/metrics`, since the server started.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from slipway.base import http
from slipway.settings.environment import ServeAddress


class Speed(msgspec.Struct, frozen=True):
    """The answers of one version since its server started; times in seconds, `None` before the first answer.

    `failed` are, for the champion, requests that ended in an error of the server, and for a challenger those
    that the champion had to answer instead, or copies that were never scored.
    """

    version: int
    answered: int
    p50: float | None
    p99: float | None
    failed: int


def speeds(serve: ServeAddress, champion: int, challenger: int) -> tuple[Speed, Speed] | None:
    """What the server at this address says of both versions; `None` when nobody answers there."""
    try:
        text = http.ask(serve.host, serve.port, "/metrics").text
    except OSError:
        return None
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    samples = [(one.name, one.labels, one.value) for one in found]
    errors = sum(
        value
        for name, labels, value in samples
        if name == "mlops_requests_total" and labels["status"].startswith("5") and labels["status"] != "503"
    )
    missed = sum(
        value
        for name, labels, value in samples
        if name in ("mlops_challenger_requests_total", "mlops_shadow_copies_total")
        and labels["outcome"] in ("refused", "slow", "down", "dropped")
    )
    return _speed(samples, champion, errors), _speed(samples, challenger, missed)


def _speed(samples: Iterable[tuple[str, dict[str, str], float]], version: int, failed: float) -> Speed:
    buckets = [
        (float(labels["le"]), value)
        for name, labels, value in samples
        if name == "mlops_prediction_seconds_bucket" and labels.get("version") == str(version)
    ]
    answered = int(buckets[-1][1]) if buckets else 0
    return Speed(version, answered, quantile(0.5, buckets), quantile(0.99, buckets), int(failed))


def quantile(part: float, buckets: list[tuple[float, float]]) -> float | None:
    """Estimate a quantile from cumulative buckets, straight between their bounds.

    `buckets` are pairs of an upper bound and the count up to it, the last bound being infinite; a quantile in the
    last bucket is its lower bound. This is what Prometheus's `histogram_quantile` computes (its documentation,
    "Query functions").
    """
    if not buckets or not buckets[-1][1]:
        return None
    rank, lower, before = part * buckets[-1][1], 0.0, 0.0
    for upper, count in buckets:
        if count >= rank:
            if upper == float("inf"):
                return lower
            return lower + (upper - lower) * (rank - before) / (count - before)
        lower, before = upper, count
    return lower
