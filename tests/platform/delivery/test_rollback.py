"""Going back, and what may not come back unasked: the version that was left, and what an old commit says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.delivery import deploy, ledger, rollback
from slipway.forge import git
from slipway.settings.project import Project
from targets import ONE, names, plugged, quiet
from typer.testing import CliRunner

__all__ = ["names", "plugged"]
pytestmark = pytest.mark.usefixtures("plugged")

#: Puts the file of an environment to what a review has accepted.
Names = Callable[..., None]


def answering(project: Project) -> int | None:
    """The version that answers in staging."""
    (found,) = deploy.running(project, "staging")
    return found.running.version


def commit(project: Project) -> str:
    return git.head(project.root)


@pytest.fixture
def two_versions(project: Project, names: Names) -> str:
    """Version 1 was served, then version 2; returns the commit that named version 1."""
    names("one", version=1)
    deploy.deploy(project, "staging", quiet)
    first = commit(project)
    names("one", version=2)
    deploy.deploy(project, "staging", quiet)
    assert answering(project) == 2
    return first


def go_to(project: Project, where: str) -> None:
    git.git(project.root, "checkout", "--quiet", "--force", where)


@pytest.fixture
def rolled_back(project: Project, two_versions: str) -> str:
    """Version 1 was put back, by a commit that main refused; returns what main still is."""
    main = commit(project)
    rollback.roll_back(project, "staging", quiet)
    git.git(project.root, "branch", "rollback/staging-v1")
    git.git(project.root, "reset", "--quiet", "--hard", main)
    assert (answering(project), commit(project)) == (1, main)
    return main


def test_what_was_left_does_not_come_back_while_main_names_it_as_before(project: Project, rolled_back: str) -> None:
    path = project.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8") + "# nothing that matters\n", encoding="utf-8")
    git.git(project.root, "commit", "--quiet", "--all", "--message", "Change a comment")

    with pytest.raises(MlopsError, match="staging was rolled back from version 2 on") as refused:
        deploy.deploy(project, "staging", quiet)

    assert "deploy/environments/staging.yaml still names it" in refused.value.problem
    assert answering(project) == 1


def test_a_commit_that_names_it_anew_brings_it_back(project: Project, rolled_back: str, names: Names) -> None:
    git.git(project.root, "merge", "--quiet", "rollback/staging-v1")
    deploy.deploy(project, "staging", quiet)
    assert answering(project) == 1
    names("one", version=2)

    deploy.deploy(project, "staging", quiet)

    assert answering(project) == 2


def test_a_third_version_is_not_held(project: Project, rolled_back: str, names: Names) -> None:
    names("one", version=3)

    deploy.deploy(project, "staging", quiet)

    assert answering(project) == 3


def test_whoever_insists_gets_it_back_for_good(
    project: Project, rolled_back: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)

    done = CliRunner().invoke(app, ["deploy", "staging", "--force"])

    assert "staging answers with version 2" in done.output
    deploy.deploy(project, "staging", quiet)
    assert answering(project) == 2


def test_status_tells_what_holds(project: Project, rolled_back: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)

    done = CliRunner().invoke(app, ["status"])

    assert "staging     should run version 2, runs version 1" in done.output
    assert "rolled back from version 2" in done.output


def test_a_rollback_that_cannot_be_served_leaves_git_as_it_was(project: Project, two_versions: str) -> None:
    before = commit(project)
    ONE.is_broken = True

    with pytest.raises(MlopsError, match="one is broken"):
        rollback.roll_back(project, "staging", quiet)

    assert (commit(project), git.changes(project.root / "deploy")) == (before, [])
    ONE.is_broken = False
    assert rollback.roll_back(project, "staging", quiet).version == 1  # the one before, not one before that


def test_a_rollback_that_git_does_not_take_serves_all_the_same(
    project: Project, two_versions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "")
    before = commit(project)

    with pytest.raises(MlopsError, match=r"staging answers with version 1, but the commit .* was not made"):
        rollback.roll_back(project, "staging", quiet)

    assert (answering(project), commit(project)) == (1, before)
    with pytest.raises(MlopsError, match="staging was rolled back from version 2"):
        deploy.deploy(project, "staging", quiet)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME")
    assert rollback.roll_back(project, "staging", quiet).version == 1
    assert git.git(project.root, "log", "-1", "--format=%s") == "Roll staging back to version 1\n"


def test_an_old_commit_is_not_deployed_where_a_later_one_was(project: Project, two_versions: str) -> None:
    go_to(project, two_versions)

    with pytest.raises(MlopsError, match="names version 1 here, and a later commit was deployed here") as refused:
        deploy.deploy(project, "staging", quiet)

    assert "in which it names version 2" in refused.value.problem
    assert answering(project) == 2
    deploy.deploy(project, "staging", quiet, force=True)
    assert answering(project) == 1


def test_an_old_commit_does_not_say_what_to_go_back_to(project: Project, two_versions: str, names: Names) -> None:
    """As a rollback of long ago that is run again."""
    second = commit(project)
    names("one", version=3)
    deploy.deploy(project, "staging", quiet)
    git.git(project.root, "reset", "--quiet", "--hard", second)

    with pytest.raises(MlopsError, match="a later commit was deployed here, in which it names version 3"):
        rollback.roll_back(project, "staging", quiet)

    assert answering(project) == 3


def test_an_old_commit_that_says_the_same_is_deployed(project: Project, names: Names) -> None:
    names("one", version=1)
    first = commit(project)
    git.git(project.root, "commit", "--quiet", "--allow-empty", "--message", "Change something else")
    deploy.deploy(project, "staging", quiet)
    go_to(project, first)

    deploy.deploy(project, "staging", quiet)

    assert answering(project) == 1


def test_on_a_new_machine_origin_says_which_commit_is_the_newest(
    project: Project, two_versions: str, tmp_path: Path
) -> None:
    """As a job finds it: a checkout of its own commit as main, which may be that of a run from long ago."""
    origin = tmp_path / "origin.git"
    git.git(project.root, "clone", "--quiet", "--bare", str(project.root), str(origin))
    git.git(project.root, "remote", "add", "origin", str(origin))
    (project.state / ledger.LEDGER).unlink()
    go_to(project, two_versions)
    git.git(project.root, "branch", "--force", "main")
    git.git(project.root, "switch", "--quiet", "main")

    with pytest.raises(MlopsError, match="on main at origin it names version 2"):
        deploy.deploy(project, "staging", quiet)

    assert answering(project) == 2


def test_where_origin_does_not_answer_that_is_said(project: Project, names: Names) -> None:
    names("one", version=1)
    git.git(project.root, "remote", "add", "origin", str(project.root / "nowhere.git"))
    told: list[str] = []

    deploy.deploy(project, "staging", told.append)

    assert any(line.startswith("nobody knows whether a later commit says otherwise of staging") for line in told)
    assert answering(project) == 1


def test_a_ledger_that_cannot_be_read_is_told_with_its_line(project: Project, names: Names) -> None:
    names("one", version=1)
    deploy.deploy(project, "staging", quiet)
    path = project.state / ledger.LEDGER
    path.write_text(path.read_text("utf-8") + '{"at": "2013', encoding="utf-8")

    with pytest.raises(MlopsError, match=r"ledger\.jsonl:2: "):
        deploy.deploy(project, "staging", quiet)


def test_a_rollback_that_origin_does_not_take_says_what_to_send(
    project: Project, two_versions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.git(project.root, "remote", "add", "origin", str(project.root / "nowhere.git"))
    monkeypatch.chdir(project.root)

    done = CliRunner().invoke(app, ["rollback", "staging", "--push"])

    assert isinstance(done.exception, MlopsError)
    assert "the commit that says so was not sent" in done.exception.problem
    assert done.exception.next_step.startswith("git push origin HEAD:rollback/staging-v1")
    assert git.changes(project.root / "deploy") == []
