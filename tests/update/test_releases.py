"""From every released version to the newest one: an untouched project becomes a fresh copy, byte for byte."""

import re
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from answers import Answers
from answers import released as of_releases
from ownership import owner_of
from questions import ROOT
from rendering import Template, commit, files, git, history, newest_version, releases
from slipway.template import update as following

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def contents(project: Path) -> dict[str, bytes]:
    """Return every file's bytes by its path."""
    return {name: path.read_bytes() for name, path in files(project).items()}


def expected(old: dict[str, bytes], fresh: dict[str, bytes]) -> dict[str, bytes]:
    """Return a fresh copy in which the team's files are those of its first day."""
    kept = {name: text for name, text in old.items() if owner_of(name) in ("yours", "once")}
    return {name: text for name, text in (fresh | kept).items() if owner_of(name) != "once" or name in old}


def take(project: Path, version: str | None = None) -> None:
    """Take a version the way a project does: a proposal, and a merge."""
    branch = following.propose(following.prepare(project, version))
    if branch:
        git(project, "merge", "--quiet", "--ff-only", branch)


def take_with_copier(project: Path, version: str | None = None) -> None:
    """Take a version with Copier alone, as a project of the first version has to."""
    copier.run_update(project, vcs_ref=version, defaults=True, overwrite=True, quiet=True)
    commit(project, "Update")


WAYS = [take, take_with_copier]


@pytest.mark.parametrize(("version", "answers"), of_releases().values(), ids=of_releases())
def test_an_untouched_project_becomes_a_fresh_copy(
    version: str, answers: Answers, start: Callable[..., Path], released: Template, tmp_path: Path
) -> None:
    project = start(version, **answers)
    old = contents(project)

    take_with_copier(project)

    assert contents(project) == expected(old, contents(released.render(tmp_path / "fresh", **answers)))


@pytest.mark.parametrize("version", releases())
def test_both_ways_make_the_same_of_an_untouched_project(version: str, start: Callable[..., Path]) -> None:
    projects = [start(version, way.__name__) for way in WAYS]

    for way, project in zip(WAYS, projects, strict=True):
        way(project)

    assert contents(projects[0]) == contents(projects[1])
    assert newest_version(CHANGELOG) in (projects[0] / ".copier-answers.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", releases())
@pytest.mark.parametrize("way", WAYS)
def test_a_second_update_changes_nothing(version: str, way: Callable[..., None], start: Callable[..., Path]) -> None:
    project = start(version)
    way(project)
    before = git(project, "rev-parse", "HEAD^{tree}")

    way(project)

    assert git(project, "rev-parse", "HEAD^{tree}") == before


@pytest.mark.parametrize("version", releases())
@pytest.mark.parametrize("way", WAYS)
def test_two_steps_are_one_step(version: str, way: Callable[..., None], released: Template, tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    template = history(tmp_path / "template")
    template.release("v1000.0.0", improve)
    projects = [template.render(tmp_path / name, version) for name in ("one", "two")]
    for project in projects:
        git(project, "init", "--quiet")
        commit(project, "A project")

    way(projects[0], "v1000.0.0")
    way(projects[1], released.version)
    way(projects[1], "v1000.0.0")

    assert contents(projects[0]) == contents(projects[1])
    assert (projects[0] / "improved.txt").is_file()


def improve(template: Path) -> None:
    """Change, add and remove files."""
    for path in ("dvc.yaml.jinja", ".gitignore.jinja", "src/{{package_name}}/mlops/server.py", "params.yaml.jinja"):
        with (template / "template" / path).open("a", encoding="utf-8") as file:
            file.write("# improved\n")
    (template / "template" / "improved.txt").write_text("improved\n", encoding="utf-8")
    (template / "template" / ".editorconfig").unlink()


def test_every_dated_version_of_the_changelog_is_a_release() -> None:
    dated = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", CHANGELOG, flags=re.MULTILINE)

    assert [f"v{number}" for number in reversed(dated)] == list(releases())


def test_the_work_tree_is_newer_than_every_release() -> None:
    """An update from a release to itself would prove nothing."""
    assert newest_version(CHANGELOG) not in releases()


@pytest.mark.parametrize("version", releases())
def test_a_release_is_a_commit_of_this_history(version: str) -> None:
    assert git(ROOT, "merge-base", releases()[version], "HEAD").strip() == releases()[version]
