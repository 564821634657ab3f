"""A slip in policy.yaml or params.yaml is refused before any work is done, with its place and what can be chosen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flight_delays import metrics as theirs
from slipway import team
from slipway.base.errors import MlopsError
from slipway.settings.project import Project
from slipway.training import pipeline
from slipway.training.agreement import require_agreement

LABELS = {"source": "labels", "key": ["id"]}
QUALITY = {"metric": "METRIC", "min_rows": 1, "action": "propose"}


def edited(project: Project, file: str, place: str, value: Any) -> Project:
    """The project with another value in a settings file, whose place is named with dots."""
    path = project.root / file
    settings = yaml.safe_load(path.read_text("utf-8"))
    *parents, last = place.split(".")
    inner = settings
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Project(project.root)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """The settings of a project, and nothing else."""
    for name in ("dvc.yaml", "params.yaml", "policy.yaml"):
        shutil.copyfile(finished.root / name, tmp_path / name)
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("file", "place", "value", "said"),
    [
        ("policy.yaml", "monitor.ignore", ["fligth"], r"monitor\.ignore: there is no column fligth\n next: choose"),
        ("policy.yaml", "monitor.tests", {"wind": "psi"}, r"monitor\.tests: there is no column wind\n next: choose"),
        ("policy.yaml", "labels", LABELS | {"key": ["fligth"]}, r"labels\.key: there is no column fligth"),
        ("policy.yaml", "labels", LABELS | {"key": []}, r"labels\.key: it is empty"),
        ("policy.yaml", "labels", LABELS | {"columns": {"LATE": "arr_dely"}}, r"labels\.columns: there is no"),
        ("policy.yaml", "privacy", {"fields": {"fligth": "hash"}}, r"privacy\.fields: there is no column fligth"),
        ("policy.yaml", "gates.metrics.auc", {"min": 0.1}, r"gates\.metrics\.auc: metrics\.py gives no auc\n next:"),
        ("policy.yaml", "gates.slices", {"columns": ["orign"], "metric": "x", "min_rows": 1}, r"slices: there is no"),
        ("policy.yaml", "gates.slices", {"columns": ["origin"], "metric": "x", "min_rows": 1}, r"slices: metrics\.py"),
        ("params.yaml", "model.n_estimater", 3, r"model\.py, build, raises TypeError.*n_estimater.*\n next: look at m"),
        ("params.yaml", "split.train_until", None, "a split by time needs"),
        ("params.yaml", "split.test_until", "2013-01-01", r"test_until is 2013-01-01, not after train_until"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_refused(project: Project, file: str, place: str, value: Any, said: str) -> None:
    with pytest.raises(MlopsError, match=said):
        require_agreement(edited(project, file, place, value), print)


def test_a_limit_that_no_model_can_keep_is_refused(project: Project) -> None:
    for name, gate in project.policy.gates.metrics.items():
        key, limit = ("min", 68) if gate.max is None else ("max", -1)
        with pytest.raises(
            MlopsError, match=rf"gates\.metrics\.{name}: {key} is {limit}, and a model that is always right"
        ):
            require_agreement(edited(project, "policy.yaml", f"gates.metrics.{name}", {key: limit}), print)
        edited(project, "policy.yaml", f"gates.metrics.{name}", {key: 0.5})


def test_a_limit_on_the_wrong_side_is_refused(project: Project) -> None:
    name, gate = next((name, gate) for name, gate in project.policy.gates.metrics.items() if gate.max is not None)

    with pytest.raises(MlopsError, match=rf"{name}: min is {gate.max:g}, and a model that is always right has 0\n"):
        require_agreement(edited(project, "policy.yaml", f"gates.metrics.{name}", {"min": gate.max}), print)


def test_a_metric_is_better_when_higher_or_when_lower(project: Project) -> None:
    name = next(iter(project.policy.gates.metrics))

    with pytest.raises(MlopsError, match=rf"policy\.yaml: gates\.metrics\.{name} has min and max; a metric"):
        _ = edited(project, "policy.yaml", f"gates.metrics.{name}", {"min": 0.1, "max": 0.9}).policy


def test_a_limit_of_the_quality_that_is_always_broken_is_refused(project: Project) -> None:
    name, gate = next((name, gate) for name, gate in project.policy.gates.metrics.items() if gate.max is not None)
    assert gate.sign < 0
    project = edited(project, "policy.yaml", "labels", LABELS)

    with pytest.raises(MlopsError, match=r"policy\.yaml, monitor\.quality: max is -1"):
        require_agreement(
            edited(project, "policy.yaml", "monitor.quality", QUALITY | {"metric": name, "limit": -1}), print
        )


def test_the_settings_of_a_new_project_agree_in_a_second(project: Project) -> None:
    said: list[str] = []
    started = time.process_time()

    require_agreement(project, said.append)

    assert time.process_time() - started < 1
    assert said == []


@pytest.mark.parametrize("wrong", [lambda *_: 1 // 0, lambda *_: None])
def test_metrics_that_cannot_be_tried_are_told_and_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Any]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(team, "metrics", wrong)

    require_agreement(project, said.append)

    assert [line.partition(": metrics.py raises")[0] for line in said] == ["mind: limits in policy.yaml were not tried"]
    assert theirs.metrics is not wrong


def test_the_pipeline_asks_before_it_does_anything(project: Project) -> None:
    with pytest.raises(MlopsError, match=r"monitor\.ignore: there is no column fligth"):
        pipeline.run(edited(project, "policy.yaml", "monitor.ignore", ["fligth"]))
