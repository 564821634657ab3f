"""A project that is a folder of a larger repository, and runners that are thrown away."""

from __future__ import annotations

from pathlib import Path

import pytest
from rendering import Template
from slipway.base.errors import MlopsError
from slipway.forge import git, proposals
from slipway.settings.project import Project
from slipway.workspace import setup
from slipway.workspace.connections import connections


@pytest.fixture
def inner(template: Template, tmp_path: Path) -> Project:
    """A new project in a folder of a repository that has commits, work in progress, and hooks of its own."""
    outer = tmp_path / "outer"
    (outer / "other").mkdir(parents=True)
    git.git(outer, "init", "--quiet", "--initial-branch", "main")
    (outer / "other" / "file").write_text("theirs\n", encoding="utf-8")
    git.git(outer, "add", "--all")
    git.git(outer, "commit", "--quiet", "--message", "Theirs")
    (outer / "other" / "file").write_text("in the middle of something\n", encoding="utf-8")
    (outer / ".git" / "hooks" / "pre-commit").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    return Project(template.render(outer / "ml" / "flights"))


def commit(project: Project) -> None:
    git.git(project.root, "add", "--all", "--", ".")
    git.git(project.root, "commit", "--quiet", "--no-verify", "--message", "Add the flights", "--", ".")


def test_a_larger_repository_stays_one_and_is_said(inner: Project) -> None:
    hook = inner.root.parents[1] / ".git" / "hooks" / "pre-commit"
    before = hook.read_text("utf-8")

    said = list(setup.setup(inner))

    assert not (inner.root / ".git").exists()
    assert said[0] == "this project is ml/flights/ in a larger repository: see vendor/slipway/docs/monorepo.md"
    assert "the larger repository has commit hooks of its own, which stay as they are" in said
    assert said[-1] == "the files of this project are in no commit yet: git add . && git commit"
    assert hook.read_text("utf-8") == before
    commit(inner)
    assert "in no commit yet" not in list(setup.setup(inner))[-1]


def test_a_folder_that_the_larger_repository_ignores_becomes_a_repository_of_its_own(inner: Project) -> None:
    """As in a home folder that is under Git, or a scratch folder."""
    assert git.holds(inner.root)

    (inner.root.parents[1] / ".gitignore").write_text("/ml/\n", encoding="utf-8")

    assert not git.holds(inner.root)
    assert next(setup.setup(inner)) == "started a Git repository on branch main"
    assert (git.holds(inner.root), git.prefix(inner.root)) == (True, "")


def test_what_others_change_beside_it_is_no_change_of_the_project(inner: Project) -> None:
    commit(inner)
    assert git.changes(inner.root) == []

    (inner.root / "params.yaml").unlink()
    (inner.root / "new file").touch()

    assert git.changes(inner.root) == ["new file", "params.yaml"]


def test_a_moved_file_is_named_at_both_its_places(inner: Project) -> None:
    commit(inner)

    git.git(inner.root, "mv", "params.yaml", "moved.yaml")

    assert git.changes(inner.root) == ["moved.yaml", "params.yaml"]


def test_a_proposal_changes_the_file_of_the_project_and_nothing_else(inner: Project, tmp_path: Path) -> None:
    commit(inner)
    path = "deploy/environments/staging.yaml"

    proposals.propose(inner, "promote/x", {path: "other: text\n"}, "Change", title="", next_step="")

    changed = git.git(inner.root, "diff", "--name-only", "HEAD", "promote/x").split()
    assert changed == [f"ml/flights/{path}"]
    assert git.at_commit(inner.root, "promote/x", path) == "other: text\n"
    git.export(inner.root, "promote/x", tmp_path / "export")
    assert (tmp_path / "export" / path).read_text("utf-8") == "other: text\n"
    assert not (tmp_path / "export" / "other").exists()


def test_setup_refuses_a_folder_in_which_versions_would_be_lost(template: Template, tmp_path: Path) -> None:
    odd = Project(template.render(tmp_path / "what?" / "flights"))

    with pytest.raises(MlopsError, match="an SQLite store cannot be addressed at"):
        list(setup.setup(odd))

    assert not (odd.root / ".git").exists()


@pytest.mark.parametrize(
    ("lent_by", "state", "is_machine"),
    [
        ("github-hosted", "/var/lib/model", False),
        ("github-hosted", "", False),
        ("self-hosted", "/var/lib/model", True),
        ("self-hosted", "", False),
    ],
)
def test_a_runner_that_goes_with_its_job_is_no_machine(
    inner: Project, monkeypatch: pytest.MonkeyPatch, lent_by: str, state: str, *, is_machine: bool
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("RUNNER_ENVIRONMENT", lent_by)
    monkeypatch.setenv("MLOPS_STATE", state)

    (machine,) = [one for one in connections(inner) if one.name == "machine"]

    assert machine.there == is_machine
    assert ("DEPLOY_RUNNER" in machine.how) != is_machine
