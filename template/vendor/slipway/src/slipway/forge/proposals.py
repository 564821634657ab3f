"""A change that somebody is to review: files on a branch of their own, and what to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.forge import git, hosting
from slipway.settings.project import Project


@dataclass(frozen=True)
class Proposal:
    """A branch to review.

    `title` says what is proposed, without the branch; `next_step` says what to do about it. A branch that is not
    new was there already and was left as it is.
    """

    branch: str
    title: str
    next_step: str
    is_new: bool = True
    replaces: bool = True

    def __str__(self) -> str:
        return f"{self.title} in branch {self.branch}{'' if self.is_new else ', as before'}"

    def send(self, project: Project) -> str:
        """Offer it for review where the repository is hosted; returns one sentence on what came of it."""
        return hosting.of(project).propose(self.branch, replace=self.replaces)


def after_merge(branch: str, command: str) -> str:
    """The next step of a proposal that needs one command once it is merged."""
    return f"review and merge {branch}, then: uv run mlops {command}"


def propose(
    project: Project,
    branch: str,
    change: Mapping[str, str] | str,
    message: str,
    *,
    title: str,
    next_step: str,
    replace: bool = True,
) -> Proposal:
    """Commit a change of the current commit on a branch of its own, without touching the working tree.

    `change` is the new text of each changed file by its path from the root, or the id of a whole tree. Without
    `replace`, a branch of this name is left as it is: it may hold a colleague's work.
    """
    is_new = replace or not git.has_branch(project.root, branch)
    if is_new:
        tree = change if isinstance(change, str) else git.tree_with(project.root, change)
        git.commit_tree(project.root, branch, tree, message)
    return Proposal(branch, title, next_step, is_new, replace)
