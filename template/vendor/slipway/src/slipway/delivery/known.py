"""What a champion's metrics say of its challenger: whoever has told it of one waits until it knows."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def challenger_in(metrics: str) -> tuple[str, str, float] | None:
    """Version, mode and share of the challenger that a page of metrics tells of."""
    for family in text_string_to_metric_families(metrics):
        if family.name == "mlops_challenger_share":
            found = family.samples[0]
            return found.labels["version"], found.labels["mode"], found.value
    return None
