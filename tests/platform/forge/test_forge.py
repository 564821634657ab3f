"""A host of repositories that is not GitHub is plugged in from outside, by an installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from slipway.base.errors import MlopsError
from slipway.forge import git, hosting, proposals
from slipway.forge.github import GitHub
from slipway.settings.project import Project

BY_MAIL = """\
from dataclasses import dataclass


@dataclass
class ByMail:
    root: object
    is_connected = False
    rules_file = "rules.txt"

    def propose(self, branch, *, replace=True):
        return f"mailed {branch}"


def of(project):
    return ByMail(project.root) if (project.root / "by-mail").exists() else None
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    for arguments in (("init", "--quiet"), ("config", "user.name", "Ada"), ("config", "user.email", "ada@example.com")):
        git.git(root, *arguments)
    (root / "one.txt").write_text("one\n", encoding="utf-8")
    git.git(root, "add", "--all")
    git.git(root, "commit", "--quiet", "-m", "Start")
    return Project(root)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Put distributions with a forge each where Python finds them."""
    for name in names:
        facts = folder / f"{name}-1.dist-info"
        facts.mkdir(parents=True)
        (folder / f"{name}.py").write_text(BY_MAIL, encoding="utf-8")
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", encoding="utf-8")
        (facts / "entry_points.txt").write_text(f"[slipway.forge]\n{name} = {name}:of\n", encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))


def a_proposal(project: Project) -> proposals.Proposal:
    change = {"one.txt": "two\n", "folder/new.txt": "new\n"}
    return proposals.propose(
        project, "change/one", change, "Change one", title="two is proposed", next_step="read it", replace=False
    )


def test_a_proposal_changes_files_and_adds_some_on_a_branch_and_leaves_the_checkout_alone(project: Project) -> None:
    proposal = a_proposal(project)

    assert str(proposal) == "two is proposed in branch change/one"
    assert git.at_commit(project.root, "change/one", "one.txt") == "two\n"
    assert git.at_commit(project.root, "change/one", "folder/new.txt") == "new\n"
    assert git.changes(project.root) == []


def test_a_branch_that_is_there_is_left_as_it_is(project: Project) -> None:
    a_proposal(project)
    git.git(project.root, "commit", "--allow-empty", "--quiet", "-m", "Go on")

    again = a_proposal(project)

    assert str(again) == "two is proposed in branch change/one, as before"
    assert git.git(project.root, "rev-list", "--count", "change/one").strip() == "2"


def test_a_forge_from_outside_takes_the_projects_it_claims(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, "by_mail")
    assert isinstance(hosting.of(project), GitHub)

    (project.root / "by-mail").touch()

    assert a_proposal(project).send(project) == "mailed change/one"


def test_two_forges_that_claim_one_project_are_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, "by_hand", "by_mail")
    (project.root / "by-mail").touch()

    with pytest.raises(MlopsError, match="by_hand and by_mail both claim to host this repository"):
        hosting.of(project)


def test_without_a_host_a_proposal_is_a_branch_to_compare(project: Project) -> None:
    assert a_proposal(project).send(project) == "compare it: git diff main...change/one"
