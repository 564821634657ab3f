"""Dashboards hold what Grafana knows, and nothing else: it passes over what it does not know, and says nothing."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import part
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
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}) == 15


#: An hour of a model of two classes, of which one is answered three times as often, and of a yes or no beside it.
ANSWERS = """
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'mlops_class_predictions_total{environment="a", version="1", class="late"}', values: 0+1x60}
      - {series: 'mlops_class_predictions_total{environment="a", version="1", class="on time"}', values: 0+3x60}
      - {series: 'mlops_predictions_total{environment="a", version="1"}', values: 0+4x60}
      - {series: 'mlops_positive_predictions_total{environment="b", version="2"}', values: 0+1x60}
      - {series: 'mlops_predictions_total{environment="b", version="2"}', values: 0+8x60}
    promql_expr_test:
      - expr: EXPRESSION
        eval_time: 30m
        exp_samples:
          - {labels: '{environment="a", version="1", class="late"}', value: 0.25}
          - {labels: '{environment="a", version="1", class="on time"}', value: 0.75}
          - {labels: '{environment="b", version="2", class="yes"}', value: 0.125}
"""


def test_the_part_of_each_class_and_of_yes_is_shown(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    (target,) = next(panel["targets"] for panel in panels if panel["title"].endswith("yes, or each class"))
    rules = tmp_path / "test.yml"
    rules.write_text(ANSWERS.replace("EXPRESSION", json.dumps(target["expr"])), encoding="utf-8")

    done = subprocess.run([part("promtool"), "test", "rules", rules], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert target["legendFormat"] == "{{environment}} {{version}} {{class}}"


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
