"""What an error says to do next ends the trouble, also where the raw data lie behind a pointer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import slipway
from slipway import team
from slipway.base.errors import MlopsError
from slipway.data import dvc
from slipway.forge import git
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.gates import check_gates
from slipway.training.pipeline import to_be_formatted

#: Stands in for the installed command, which stages are started by.
MLOPS = """\
#!/bin/sh
PYTHONPATH={path} exec {python} -m slipway "$@"
"""


@pytest.fixture(scope="module")
def kept_outside(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished project whose raw data are behind a pointer, with a remote, and a `dvc.lock` that says so."""
    root = tmp_path_factory.mktemp("outside") / "project"
    shutil.copytree(finished.root, root)
    for ours, folder in (
        (team.source("model").parents[1], "src"),
        (Path(slipway.__file__).parents[1], "vendor/slipway/src"),
    ):
        shutil.copytree(ours, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    git.git(root, "init", "--quiet")
    project = Project(root)
    for command in (
        ("init", "--quiet"),
        ("remote", "add", "--default", "storage", str(root.parent / "remote")),
        ("add", "--quiet", "data/raw.parquet"),
        ("commit", "--force", "--quiet"),
        ("push", "--quiet"),
    ):
        code, _, complaint = dvc.dvc(project, *command)
        assert code == 0, complaint
    return project


@pytest.fixture
def outside(kept_outside: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same, to be changed at will, with the command `mlops` on the path of its stages."""
    command = tmp_path / "bin" / "mlops"
    command.parent.mkdir()
    command.write_text(MLOPS.format(path=os.environ["PYTHONPATH"], python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    shutil.copytree(kept_outside.root, tmp_path / "project")
    return Project(tmp_path / "project")


def by_deleting(project: Project) -> None:
    (project.root / "reports" / "metrics.json").unlink()


def by_a_failed_evaluation(project: Project) -> None:
    """A column that is not there, taken back once the stage has failed."""
    policy = project.root / "policy.yaml"
    text = policy.read_text("utf-8")
    policy.write_text(text.replace("columns: [origin, carrier]", "columns: [origin, carier]"), encoding="utf-8")
    assert not dvc.repro(project)
    policy.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("lose", [by_deleting, by_a_failed_evaluation])
def test_figures_that_are_gone_come_back_by_what_the_error_says(
    outside: Project, lose: Callable[[Project], None]
) -> None:
    lock = (outside.root / "dvc.lock").read_bytes()
    before = check_gates(outside)
    lose(outside)
    with pytest.raises(MlopsError, match="nothing was evaluated") as refused:
        check_gates(outside)
    assert refused.value.next_step == "mlops pipeline"

    assert dvc.repro(outside)

    assert [check.gate for check in check_gates(outside)] == [check.gate for check in before]
    assert (outside.root / "dvc.lock").read_bytes() == lock
    assert dvc.stale(outside) == []


def test_code_that_a_commit_hook_will_rewrite_is_told_before_anything_runs(tmp_path: Path) -> None:
    """Otherwise the commit that the next step asks for makes every output stale."""
    git.git(tmp_path, "init", "--quiet")
    module = tmp_path / "src" / "tiny" / "features.py"
    module.parent.mkdir(parents=True)
    rewritten = {
        '"""Fine."""\n\nFINE = [1]\n': [],
        '"""Wide."""\n\nWIDE = [ 1 ]\n': ["src/tiny/features.py"],
        '"""Unused."""\n\nimport os\n': ["src/tiny/features.py"],
    }

    for text, told in rewritten.items():
        module.write_text(text, encoding="utf-8")
        assert to_be_formatted(tmp_path) == told


def test_outputs_that_are_gone_come_back_by_what_the_error_says(outside: Project) -> None:
    shutil.rmtree(outside.bundle)
    (outside.root / "data" / "valid.parquet").unlink()
    with pytest.raises(MlopsError, match=r"there is no model\.json") as refused:
        _ = Bundle(outside.bundle).model
    assert refused.value.next_step == "mlops pipeline"

    assert dvc.repro(outside)

    assert Bundle(outside.bundle).model.answer == team.model.ANSWER
    assert (outside.root / "data" / "valid.parquet").is_file()
