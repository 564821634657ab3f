"""Dashboards hold what Grafana knows, and nothing else: it passes over what it does not know, and says nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rendering import ROOT

DASHBOARD = ROOT / "template" / "monitoring" / "grafana" / "dashboards" / "serving.json"


def unknown(dashboard: dict[str, Any]) -> list[str]:
    """The places of what is lost when Grafana's own types read a dashboard and write it again."""
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="install requirements.txt")
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    plugins.register_default_plugins()
    read = models.Dashboard.from_json(dashboard)
    return [*lost(dashboard, json.loads(encoder.JSONEncoder().encode(read)), "")]


def lost(before: object, after: object, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from lost(value, after.get(name), f"{place}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{place}/{number}")
    elif before != after:
        yield place


def test_grafana_knows_all_that_the_dashboard_says() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))

    assert unknown(dashboard) == []
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}) == 14


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("expr", "/panels/0/targets/0/expr_"),
        ("unit", "/panels/0/fieldConfig/defaults/unit_"),
        ("gridPos", "/panels/0/gridPos_"),
        ("schemaVersion", "/schemaVersion_"),
    ],
)
def test_a_misspelt_word_is_found_with_its_place(word: str, place: str) -> None:
    """The twin."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8").replace(f'"{word}"', f'"{word}_"'))

    assert unknown(dashboard)[0] == place
