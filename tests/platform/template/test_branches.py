"""Which branch an update goes to, and what is refused by name before anything is changed.

The two sides of each update are made with Git alone, as the template would have made them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import commit, git
from slipway.base.errors import MlopsError
from slipway.forge.git import tree_with
from slipway.template import branches, rendering
from slipway.template.rendering import ANSWERS
from slipway.template.update import Update, propose_update

OLD = {ANSWERS: "_commit: v1.0.0\n_src_path: x\n", "settings.txt": "one\ntwo\nthree\nfour\n"}
NEW = {ANSWERS: "_commit: v2.0.0\n_src_path: x\n", "settings.txt": "one\nTWO\nthree\nfour\n", "notes/new.txt": "new\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of the first version."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "--quiet")
    write(root, OLD)
    commit(root, "A project")
    return root


def write(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def edit(root: Path, texts: dict[str, str], message: str = "An edit") -> None:
    write(root, texts)
    commit(root, message)


def prepared(root: Path) -> Update:
    """The update to the second version, for the current commit."""
    base = git(root, "rev-list", "--max-parents=0", "HEAD").strip()
    old = rendering.commit_of(root, f"{base}^{{tree}}", "Old")
    git(root, "update-ref", "refs/heads/base", base)
    theirs = rendering.commit_of(root, tree_at(root, base, NEW), "New", old)
    merged, conflicts = branches.merge_side(root, "HEAD", old, theirs)
    return Update(root, "template/v2.0.0", "v1.0.0", "v2.0.0", "", old, theirs, merged, [], conflicts)


def tree_at(root: Path, base: str, texts: dict[str, str]) -> str:
    here = git(root, "symbolic-ref", "HEAD").strip()
    git(root, "symbolic-ref", "HEAD", "refs/heads/base")
    try:
        return tree_with(root, texts)
    finally:
        git(root, "symbolic-ref", "HEAD", here)


def propose(root: Path) -> str:
    return str(propose_update(prepared(root)))


@pytest.fixture
def origin(root: Path, tmp_path: Path) -> Path:
    """Where the project is reviewed."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(root, "push", "--quiet", "origin", "main")
    return tmp_path / "origin.git"


# ---------------------------------------------------------------------------- the branch


def test_a_proposal_that_is_there_is_left_as_it_is(root: Path) -> None:
    first = propose(root)
    tip = git(root, "rev-parse", "template/v2.0.0")
    edit(root, {"ours.txt": "ours\n"})

    assert first == "v2.0.0 is proposed in branch template/v2.0.0"
    assert propose(root) == "v2.0.0 is proposed in branch template/v2.0.0, as before"
    assert git(root, "rev-parse", "template/v2.0.0") == tip


def test_an_update_comes_again_after_it_was_merged_and_reverted(root: Path) -> None:
    propose(root)
    git(root, "merge", "--quiet", "--no-ff", "--no-edit", "template/v2.0.0")
    git(root, "revert", "--no-edit", "-m", "1", "HEAD")

    assert propose(root) == "v2.0.0 is proposed in branch template/v2.0.0-2"
    git(root, "merge", "--quiet", "--no-edit", "template/v2.0.0-2")
    assert (root / "settings.txt").read_text(encoding="utf-8") == NEW["settings.txt"]


def test_a_branch_of_the_same_name_that_brings_something_else_is_not_the_proposal(root: Path) -> None:
    git(root, "switch", "--quiet", "--create", "template/v2.0.0")
    edit(root, {"ours.txt": "a colleague's\n"})
    git(root, "switch", "--quiet", "main")
    tip = git(root, "rev-parse", "template/v2.0.0")

    assert propose(root) == "v2.0.0 is proposed in branch template/v2.0.0-2"
    assert git(root, "rev-parse", "template/v2.0.0") == tip


def test_an_outdated_proposal_is_no_proposal(root: Path) -> None:
    propose(root)
    edit(root, {"settings.txt": "one\nours\nthree\nfour\n"})

    with pytest.raises(MlopsError, match="changed the same lines in settings.txt") as refused:
        propose(root)

    assert refused.value.exit_code == 1
    assert "git switch --create template/v2.0.0-2 && git cherry-pick" in refused.value.next_step


def test_a_proposal_that_somebody_worked_on_and_that_no_more_merges_is_refused(root: Path) -> None:
    propose(root)
    git(root, "switch", "--quiet", "template/v2.0.0")
    edit(root, {"ours.txt": "a colleague's\n"})
    git(root, "switch", "--quiet", "main")
    assert propose(root) == "v2.0.0 is proposed in branch template/v2.0.0, as before"
    edit(root, {"ours.txt": "another's\n"})

    with pytest.raises(MlopsError) as refused:
        propose(root)

    assert refused.value.problem == (
        "somebody has worked on the proposal in template/v2.0.0, and ours.txt changed here since"
    )
    assert refused.value.next_step == "git switch template/v2.0.0 && git merge main"


def test_a_proposal_in_which_a_conflict_was_solved_is_the_proposal(root: Path) -> None:
    edit(root, {"settings.txt": "one\nours\nthree\nfour\n"})
    with pytest.raises(MlopsError) as refused:
        propose(root)
    start, finish, back = (line.strip() for line in refused.value.next_step.splitlines()[2:])

    assert paste(root, start) == 1
    assert paste(root, back) == 0
    assert git(root, "status", "--porcelain", "--branch") == "## main\n"
    assert paste(root, start) == 1
    write(root, {"settings.txt": "one\nours, two\nthree\nfour\n"})
    assert paste(root, finish) == 0
    git(root, "switch", "--quiet", "main")

    assert propose(root) == "v2.0.0 is proposed in branch template/v2.0.0, as before"


def paste(root: Path, line: str) -> int:
    """Run a printed line as somebody does who pastes it."""
    environment = os.environ | {"GIT_EDITOR": "true"}
    return subprocess.run(line, shell=True, cwd=root, env=environment, capture_output=True, check=False).returncode


def test_the_proposal_of_a_colleague_at_origin_is_seen_from_a_clone_of_main(root: Path, origin: Path) -> None:
    """As a scheduled job has it."""
    propose(root)
    git(root, "push", "--quiet", "origin", "template/v2.0.0")
    git(root, "branch", "--quiet", "-D", "template/v2.0.0")
    git(root, "update-ref", "-d", "refs/remotes/origin/template/v2.0.0")

    proposal = propose_update(prepared(root))

    assert proposal
    assert str(proposal) == "v2.0.0 is proposed in branch template/v2.0.0, as before"
    assert "git merge origin/template/v2.0.0" in proposal.next_step


def test_a_branch_that_is_gone_at_origin_is_no_proposal(root: Path, origin: Path) -> None:
    """Git here remembers it until somebody prunes."""
    propose(root)
    git(root, "push", "--quiet", "origin", "template/v2.0.0")
    git(root, "branch", "--quiet", "-D", "template/v2.0.0")
    git(origin, "branch", "--quiet", "-D", "template/v2.0.0")

    assert propose(root) == "v2.0.0 is proposed in branch template/v2.0.0"


# ---------------------------------------------------------------------------- what Git ignores


def ignore(root: Path, pattern: str) -> None:
    with (root / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write(f"{pattern}\n")


def make_file(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine\n", encoding="utf-8")


def make_dangling_link(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("taken", "make"),
    [
        ("notes/new.txt", make_file),
        ("notes", make_file),
        ("notes/new.txt", make_dangling_link),
        ("notes", make_dangling_link),
        ("notes/new.txt", lambda path: make_file(path / "mine.txt") if path.mkdir(parents=True) is None else None),
    ],
    ids=["a file", "a file named like a folder", "a dangling link", "a link named like a folder", "a folder"],
)
@pytest.mark.parametrize("conflict", [False, True], ids=["", "and a conflict"])
def test_what_git_ignores_in_the_place_of_a_new_file_is_named_first(
    root: Path, taken: str, make: Callable[[Path], object], *, conflict: bool
) -> None:
    if conflict:
        edit(root, {"settings.txt": "one\nours\nthree\nfour\n"})
    ignore(root, f"/{taken}")
    make(root / taken)

    with pytest.raises(MlopsError) as refused:
        propose(root)

    assert refused.value.problem == f"v2.0.0 adds {taken}, which Git ignores here"
    assert not git(root, "branch", "--list", "template/*")


def test_a_file_of_the_teams_in_the_place_of_a_new_folder_is_a_conflict(root: Path) -> None:
    """It is in Git, so that nothing can be lost."""
    edit(root, {"notes": "ours\n"})

    with pytest.raises(MlopsError, match="changed the same lines in notes"):
        propose(root)
