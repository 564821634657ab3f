"""What makes a stage run again: a change of anything that it runs. Otherwise a stale bundle would be registered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import slipway
from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.files import sha256
from slipway.data import dvc
from slipway.data.stages import IN_PARTS, STAGES, run_stage
from slipway.forge.git import git
from slipway.settings.project import Project

#: Where a project has the sources of its team and those of the platform.
SOURCES = ("src", "vendor/slipway/src")

#: Runs a stage and prints the files of every module of the project that is then loaded.
RUN = """
import sys
from pathlib import Path
from slipway.data.stages import run_stage
from slipway.settings.project import Project
run_stage(Project(Path(sys.argv[2])), sys.argv[1])
paths = [Path(module.__file__) for module in [*sys.modules.values()] if getattr(module, "__file__", None)]
print(*(path.relative_to(sys.argv[2]).as_posix() for path in paths if path.is_relative_to(sys.argv[2])))
"""


#: Runs a stage as DVC does, in pieces that are small, and prints what the text above prints.
BY_COMMAND = """
import os, sys
from pathlib import Path
from slipway.cli.training import stage
from slipway.data import partitions
partitions.PART = 400
os.chdir(sys.argv[2])
stage(sys.argv[1])
"""


def loaded_by(stage: str, project: Project, script: str = RUN) -> set[str]:
    """The source files of the project that a process holds once it has run a stage, and nothing else."""
    found = os.pathsep.join(str(project.root / folder) for folder in SOURCES)
    done = subprocess.run(
        [sys.executable, "-c", script, stage, str(project.root)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": found},
    )  # fmt: skip
    return set(done.stdout.split())


def with_sources(finished: Project, root: Path) -> Project:
    """A copy of the finished project with the sources of its team and the platform where a project has them."""
    shutil.copytree(finished.root, root)
    for ours, folder in zip((team.source("model").parents[1], Path(slipway.__file__).parents[1]), SOURCES, strict=True):
        shutil.copytree(ours, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Project(root)


@pytest.fixture(scope="module")
def tracked(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project with its sources beside it, and a `dvc.lock` that says so."""
    project = with_sources(finished, tmp_path_factory.mktemp("tracked") / "project")
    git(project.root, "init", "--quiet")
    assert dvc.dvc(project, "init", "--quiet")[0] == 0
    code, _, complaint = dvc.dvc(project, "commit", "--force", "--quiet")
    assert code == 0, complaint
    return project


@pytest.fixture(scope="module")
def loaded(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Which files each stage loads."""
    project = with_sources(finished, tmp_path_factory.mktemp("loaded") / "project")
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


def test_what_an_engine_adds_to_a_stage_is_unseen_and_changes_no_byte(finished: Project, tmp_path: Path) -> None:
    """So `dvc.yaml` need not name it: the stages give an engine all that makes their bytes."""
    project = with_sources(finished, tmp_path / "project")
    settings = project.root / "pyproject.toml"
    text = settings.read_text("utf-8").replace("[tool.mlops]\n", "[tool.mlops]\nengine_workers = 2\n", 1)
    settings.write_text(text, encoding="utf-8")
    made = "data/ingested.parquet", "data/valid.parquet", "reports/validation.json"
    before = {path: sha256(project.root / path) for path in made}
    known = msgspec.yaml.decode((project.root / "dvc.yaml").read_bytes())["stages"]
    for path in made:
        (project.root / path).unlink()

    for stage in IN_PARTS:
        loaded = loaded_by(stage, project, BY_COMMAND + "\n".join(RUN.splitlines()[-2:]))
        seen = [path for path in known[stage]["deps"] if not path.startswith("$")]
        unseen = [Path(file) for file in loaded if not any(Path(file).is_relative_to(path) for path in seen)]
        engines = {path.name for path in unseen if path.parts[4:6] == ("training", "engines")}
        assert engines >= {"mapping.py", "local.py", "work.py"}  # it was one of these that did the work
        assert {path.parts[4] for path in unseen} == {"cli", "training"}
        assert {path.parts[5] for path in unseen if path.parts[4] == "training"} == {"__init__.py", "engines"}

    assert {path: sha256(project.root / path) for path in made} == before


def test_stages_load_no_part_of_serving_monitoring_or_delivery(loaded: dict[str, set[str]]) -> None:
    components = {path.parts[4] for files in loaded.values() for path in map(Path, files) if path.parts[0] == "vendor"}

    assert {"data", "training"} < components
    assert components & {"serving", "monitoring", "delivery"} == set()


def test_a_stage_that_nobody_knows_is_refused_with_those_there_are(finished: Project) -> None:
    with pytest.raises(MlopsError, match="there is no stage fit"):
        run_stage(finished, "fit")
