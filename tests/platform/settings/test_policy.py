"""What `mlops policy` adds to the rules: blocks with their comments, and the rest of the file as it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.settings import policy_add
from slipway.settings.base import read_settings
from slipway.settings.params import Params
from slipway.settings.policy import Policy, PrivacyPolicy
from slipway.settings.project import Project
from typer.testing import CliRunner

OF_A_CLASS = "{auc: {min: 0.7}, brier: {max: 0.2, margin: 0.003}}"
OF_A_NUMBER = "{mae: {max: 32.0, margin: 0.3}, rmse: {max: 60.0}}"
LEAST = """\
# Ours.
gates:
  metrics: METRICS  # both
  slices: {columns: [], metric: mae, min: 1, min_rows: 1}
  limits: {model_megabytes: 5, one_row_ms: 5}

monitor:
    min_rows: 200   # few
    watch: 0.10
    act: 0.25
    p_value: 0.01

# The last one.
serving:
  max_body_kb: 1
  max_rows: 1
  requests_per_second: 1
  return_score: false
"""
NAMES = [block.name for block in policy_add.blocks()]
NEED_LABELS = {"experiment", "monitor.bias", "monitor.quality"}


@pytest.fixture(params=[OF_A_CLASS, OF_A_NUMBER])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    (tmp_path / "policy.yaml").write_text(LEAST.replace("METRICS", request.param), encoding="utf-8")
    return Project(tmp_path)


def read(project: Project) -> tuple[str, Policy]:
    path = project.root / "policy.yaml"
    return path.read_text("utf-8"), read_settings(path, Policy)


@pytest.mark.parametrize("name", NAMES)
def test_each_block_makes_a_policy_that_is_valid_and_keeps_the_rest(project: Project, name: str) -> None:
    before, _ = read(project)

    policy_add.add(project, ["labels", name] if name in NEED_LABELS else [name])

    after, _ = read(project)
    assert [block.name for block, is_there in policy_add.listed(project) if is_there] == sorted(
        {name} | ({"labels"} if name in NEED_LABELS else set())
    )
    assert set(before.splitlines()) <= set(after.splitlines())
    lines = iter(after.splitlines())
    assert all(line in lines for line in before.splitlines())
    (block,) = (block for block in policy_add.blocks() if block.name == name)
    comments = {line.strip() for line in block.text.splitlines() if line.startswith("#")}
    assert comments <= {line.strip() for line in after.splitlines()}
    assert "$" not in after


def test_the_list_tells_each_block_from_whether_it_is_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    policy_add.add(project, ["privacy"])
    monkeypatch.chdir(project.root)
    (project.root / "dvc.yaml").touch()

    listed = CliRunner().invoke(app, ["policy", "list"]).output

    told = dict(line.split()[:2] for line in listed.splitlines())
    assert told == {name: "yes" if name == "privacy" else "-" for name in NAMES}


def test_all_of_them_together_are_a_policy(project: Project) -> None:
    policy_add.add(project, NAMES)

    text, policy = read(project)
    assert all(is_there for _, is_there in policy_add.listed(project))
    assert policy.experiment is not None
    assert policy.experiment.metric == ("brier" if "brier" in text else "mae")


@pytest.mark.parametrize("name", sorted(NEED_LABELS))
def test_a_block_that_needs_another_says_which_and_changes_nothing(project: Project, name: str) -> None:
    before, _ = read(project)

    with pytest.raises(MlopsError, match="needs labels") as refused:
        policy_add.add(project, [name])

    assert refused.value.next_step == f"mlops policy add labels {name}"
    assert read(project)[0] == before


def test_what_is_there_or_unknown_is_refused_and_nothing_is_added(project: Project) -> None:
    policy_add.add(project, ["monitor.windows"])
    before, _ = read(project)

    with pytest.raises(MlopsError, match=r"policy\.yaml has monitor\.windows already"):
        policy_add.add(project, ["privacy", "monitor.windows"])
    with pytest.raises(MlopsError, match="there is no block labels2") as refused:
        policy_add.add(project, ["privacy", "labels2"])

    assert "labels, monitor.age" in refused.value.next_step
    assert read(project)[0] == before


def test_a_policy_in_one_line_is_told_what_to_add_by_hand(project: Project) -> None:
    path = project.root / "policy.yaml"
    settings = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump(settings, default_flow_style=None), encoding="utf-8")

    with pytest.raises(MlopsError, match=r"policy\.yaml cannot take this block: monitor is not written") as refused:
        policy_add.add(project, ["monitor.windows"])

    assert "windows: {days: 7, last: 4, need: 2}" in refused.value.next_step


@pytest.mark.parametrize("name", NAMES)
def test_each_block_says_in_a_line_what_it_is_for(name: str) -> None:
    (block,) = (block for block in policy_add.blocks() if block.name == name)

    assert 20 < len(block.line) < 120


def test_the_page_names_each_block_and_what_holds_without_it() -> None:
    page = (Path(__file__).parents[3] / "template" / "vendor" / "slipway" / "docs" / "policy.md").read_text("utf-8")
    without = dict(re.findall(r"^\|[^|]+\| `([\w.]+)` \|[^|]+\| ([^|]+) \|$", page, flags=re.MULTILINE))
    least = msgspec.yaml.decode(LEAST.replace("METRICS", OF_A_CLASS), type=Policy)
    monitor, serving = least.monitor, least.serving

    assert sorted(without) == NAMES
    assert without["monitor.windows"] == f"one window of {monitor.windows.days:g} days is judged and decides alone"
    assert (monitor.windows.last, monitor.windows.need) == (1, 1)
    assert without["monitor.refused"].endswith(f"came {monitor.min_refused} times")
    assert without["serving.load"] == str(serving.max_in_progress)
    nothing = [monitor.max_refused, monitor.max_bias, monitor.max_age_days, monitor.quality, serving.explain]
    assert not any([*nothing, least.labels, least.experiment, least.signature])
    assert least.privacy == PrivacyPolicy(fields={}, keep_days=None)


@pytest.mark.parametrize(
    ("kind", "text", "place", "choices"),
    [
        (Params, "split: {by: week}", "split.by", "digest, time"),
        (Params, "model_format: {name: pickle}", "model_format.name", "catboost, lightgbm, skops, xgboost"),
        (Policy, "privacy: {fields: {name: hide}}", "privacy.fields[...]", "drop, hash, keep"),
        (Policy, "monitor: {quality: {action: run}}", "monitor.quality.action", "perform, propose"),
    ],
)
def test_a_value_that_is_none_of_a_few_is_refused_with_these(
    kind: Any, text: str, place: str, choices: str, tmp_path: Path
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(MlopsError, match=re.escape(f"settings.yaml, {place}: Invalid enum value")) as told:
        read_settings(path, kind)

    assert told.value.next_step == f"choose from {choices}"
