"""From every released version to the newest one: an untouched project becomes a fresh copy, but for the shim."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from answers import Answers
from answers import released as of_releases
from ownership import owner_of
from questions import ROOT
from rendering import Template, commit, files, git, history, newest_version, releases, snapshot
from slipway.template import update as following

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def contents(project: Path) -> dict[str, bytes]:
    """Return every file's bytes by its path."""
    return {name: path.read_bytes() for name, path in files(project).items()}


#: What the move of the platform into vendor/ left in the team's package, whose modules import it.
SHIM = """\
\"\"\"Where the names of the contract were before 0.4.0. `mlops template audit` says when it can go.\"\"\"

from slipway import Column, Columns, Contract, Row

__all__ = ["Column", "Columns", "Contract", "Row"]
"""
ALIAS = b"# The registry's name for the version that runs here.\n"


def expected(old: dict[str, bytes], fresh: dict[str, bytes], answers: Answers) -> dict[str, bytes]:
    """Return a fresh copy in which the team's files are those of its first day, tests excepted, and what was written.

    Tests were shared before 0.4.0, and that version brings its own a last time.
    """
    kept = {name: text for name, text in old.items() if owner_of(name) in ("yours", "once") and name[:6] != "tests/"}
    if answers.get("target") == "compose":
        environments = [name for name in kept if name.startswith("deploy/environments/")]
        kept |= {name: kept[name].replace(ALIAS, b"target: compose\n\n" + ALIAS) for name in environments}
    new = fresh | kept | {"src/flight_delays/mlops/schema.py": SHIM.encode()}
    return {name: text for name, text in new.items() if owner_of(name) != "once" or name in old}


def take(project: Path, version: str | None = None) -> None:
    """Take a version the way a project does: a proposal, and a merge."""
    proposal = following.propose_update(following.prepare(project, version, trust=True))
    if proposal:
        git(project, "merge", "--quiet", "--ff-only", proposal.branch)


def take_with_copier(project: Path, version: str | None = None) -> None:
    """Take a version with Copier alone, as a project of the first version has to."""
    copier.run_update(project, vcs_ref=version, defaults=True, overwrite=True, quiet=True, unsafe=True)
    commit(project, "Update")


WAYS = {"command": take, "copier": take_with_copier}
OLDEST, *_, NEWEST = releases()


@pytest.mark.parametrize(("version", "answers"), of_releases().values(), ids=of_releases())
def test_an_untouched_project_becomes_a_fresh_copy(
    version: str, answers: Answers, start: Callable[..., Path], released: Template, tmp_path: Path
) -> None:
    project = start(version, **answers)
    old = contents(project)

    take_with_copier(project)

    assert contents(project) == expected(old, contents(released.render(tmp_path / "fresh", **answers)), answers)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_both_ways_make_the_same_of_an_untouched_project(
    version: str, start: Callable[..., Path], updated: Callable[[str], Path]
) -> None:
    project = start(version)

    take(project)

    assert contents(project) == contents(updated(version))
    assert newest_version(CHANGELOG) in (project / ".copier-answers.yml").read_text(encoding="utf-8")


def test_the_command_of_a_release_takes_the_version_when_it_is_trusted(
    start: Callable[..., Path], updated: Callable[[str], Path]
) -> None:
    """The project's own code of that time: without trust it refuses in a sentence and changes nothing."""
    project = start(NEWEST)
    code = "import sys; from pathlib import Path; from flight_delays.mlops import template as t;"
    code += "print(t.propose(t.prepare(Path.cwd(), trust=bool(sys.argv[1:]))))"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    refused, done = (
        subprocess.run([*command, *trust], cwd=project, env=environment, capture_output=True, text=True, check=False)
        for trust in ([], ["--trust"])
    )

    assert "this update runs scripts of the template" in refused.stderr
    assert (done.returncode, done.stderr) == (0, "")
    git(project, "merge", "--quiet", "--ff-only", f"template/{newest_version(CHANGELOG)}")
    assert contents(project) == contents(updated(NEWEST))


@pytest.mark.parametrize("way", WAYS)
def test_a_second_update_changes_nothing(way: str, updated_copy: Callable[[str], Path]) -> None:
    project = updated_copy(NEWEST)
    before = git(project, "rev-parse", "HEAD^{tree}")

    WAYS[way](project)

    assert git(project, "rev-parse", "HEAD^{tree}") == before


@pytest.mark.parametrize(("version", "way"), [(NEWEST, "copier"), (OLDEST, "command")])
def test_two_steps_are_one_step(version: str, way: str, released: Template, tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    template = history(tmp_path / "template")
    template.release("v1000.0.0", improve)
    projects = [template.render(tmp_path / name, version) for name in ("one", "two")]
    for project in projects:
        git(project, "init", "--quiet")
        commit(project, "A project")

    WAYS[way](projects[0], "v1000.0.0")
    WAYS[way](projects[1], released.version)
    WAYS[way](projects[1], "v1000.0.0")

    assert contents(projects[0]) == contents(projects[1])
    assert (projects[0] / "improved.txt").is_file()


def improve(template: Path) -> None:
    """Change, add and remove files."""
    platform = "vendor/slipway/src/slipway/serving/app.py"
    for path in ("dvc.yaml.jinja", ".gitignore.jinja", platform, "params.yaml.jinja"):
        with (template / "template" / path).open("a", encoding="utf-8") as file:
            file.write("# improved\n")
    (template / "template" / "improved.txt").write_text("improved\n", encoding="utf-8")
    (template / "template" / ".editorconfig").unlink()


# ---------------------------------------------------------------------------- how much a reviewer has to read


def changed(project: Path, *options: str) -> dict[str, str]:
    """Return what the last commit did to each path, moves found, by the path it has now."""
    told = git(project, "diff", "--name-status", "-M", *options, "HEAD~1", "HEAD").splitlines()
    return {path: status for status, *_, path in (line.split("\t") for line in told)}


def test_an_update_of_two_releases_shows_a_reviewer_few_files(updated: Callable[[str], Path]) -> None:
    """Beside the platform's own folders, the one it has left and the one it is in now."""
    platform = ("vendor/slipway/", "src/flight_delays/mlops/")

    beside = [path for path in changed(updated("v0.2.0")) if not path.startswith(platform)]

    assert len(beside) <= 40, beside


def test_a_version_that_changes_the_platform_alone_shows_two_lines(tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    template = snapshot(tmp_path / "template")
    project = template.render(tmp_path / "project")
    git(project, "init", "--quiet")
    commit(project, "A project")
    template.release("v1000.0.0", change_platform)

    take_with_copier(project)

    assert "vendor/slipway/src/slipway/serving/app.py" in changed(project)
    beside = git(project, "diff", "--numstat", "HEAD~1", "HEAD", "--", ":!vendor").splitlines()
    assert beside == ["1\t1\t.copier-answers.yml"]


def change_platform(template: Path) -> None:
    """Write a line into a module of the platform."""
    with (template / "template" / "vendor/slipway/src/slipway/serving/app.py").open("a", encoding="utf-8") as file:
        file.write("# improved\n")


# ---------------------------------------------------------------------------- releases


def test_every_dated_version_of_the_changelog_is_a_release() -> None:
    dated = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", CHANGELOG, flags=re.MULTILINE)

    assert [f"v{number}" for number in reversed(dated)] == list(releases())


def test_the_work_tree_is_newer_than_every_release() -> None:
    """An update from a release to itself would prove nothing."""
    assert newest_version(CHANGELOG) not in releases()


@pytest.mark.parametrize("version", releases())
def test_a_release_is_a_commit_of_this_history(version: str) -> None:
    assert git(ROOT, "merge-base", releases()[version], "HEAD").strip() == releases()[version]
