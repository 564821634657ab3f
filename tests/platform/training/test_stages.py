"""What makes a stage run again: a change of anything that it runs. Otherwise a stale bundle would be registered."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conftest import ROOT
from flight_delays import mlops
from slipway.base.errors import MlopsError
from slipway.data import dvc
from slipway.data.stages import STAGES, run_stage
from slipway.forge.git import git
from slipway.settings.project import Project

#: Runs a stage and prints the files of every module of ours that is then loaded.
RUN = f"""
import sys
from pathlib import Path
from {mlops.__name__}.project import Project
from {mlops.__name__}.stages import run_stage
run_stage(Project(Path(sys.argv[2])), sys.argv[1])
paths = [Path(module.__file__) for module in [*sys.modules.values()] if getattr(module, "__file__", None)]
print(*(path.relative_to(sys.argv[3]).as_posix() for path in paths if path.is_relative_to(Path(sys.argv[3], "src"))))
"""


def loaded_by(stage: str, project: Project) -> set[str]:
    """The source files of this repository that a process holds once it has run a stage, and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, stage, str(project.root), str(ROOT)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def tracked(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project with its sources beside it, and a `dvc.lock` that says so."""
    project = Project(tmp_path_factory.mktemp("tracked") / "project")
    shutil.copytree(finished.root, project.root)
    shutil.copytree(ROOT / "src", project.root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    git(project.root, "init", "--quiet")
    assert dvc.dvc(project, "init", "--quiet")[0] == 0
    code, _, complaint = dvc.dvc(project, "commit", "--force", "--quiet")
    assert code == 0, complaint
    return project


@pytest.fixture(scope="module")
def loaded(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Which files each stage loads."""
    project = Project(tmp_path_factory.mktemp("loaded") / "project")
    shutil.copytree(finished.root, project.root)
    return {stage: loaded_by(stage, project) for stage in STAGES}


def changed_dependencies(project: Project) -> dict[str, list[str]]:
    """For each stage that DVC calls stale, which files or folders that it depends on have changed."""
    _, output, _ = dvc.dvc(project, "status", "--json")
    return {
        stage: [path for reason in reasons if isinstance(reason, dict) for path in reason.get("changed deps", {})]
        for stage, reasons in msgspec.json.decode(output).items()
    }


def test_a_change_in_any_module_that_a_stage_loads_makes_it_stale(
    tracked: Project, loaded: dict[str, set[str]]
) -> None:
    assert dvc.stale(tracked) == []

    for file in set().union(*loaded.values()):
        with (tracked.root / file).open("a", encoding="utf-8") as source:
            source.write("# one more line\n")

    seen = changed_dependencies(tracked)
    unseen = {
        f"{stage} runs {file}"
        for stage, files in loaded.items()
        for file in files
        if not any(Path(file).is_relative_to(path) for path in seen.get(stage, []))
    }
    assert unseen == set()


def test_stages_load_no_part_of_serving_monitoring_or_delivery(loaded: dict[str, set[str]]) -> None:
    above = {"server", "endpoint", "telemetry", "counts", "concept", "drift", "monitor", "live", "deploy", "native"}

    assert {Path(file).stem for files in loaded.values() for file in files} & above == set()


def test_a_stage_that_nobody_knows_is_refused_with_those_there_are(finished: Project) -> None:
    with pytest.raises(MlopsError, match="there is no stage fit"):
        run_stage(finished, "fit")
