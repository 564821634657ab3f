"""Which branch an update goes to: one of its name may be the proposal, an outdated one, or somebody else's work."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.forge import git as vcs
from slipway.forge.git import git
from slipway.template import rendering

# The team's new files stay in a folder that is renamed, and line ends are no difference.
MERGE = ("-c", "merge.directoryRenames=false", "-c", "merge.renormalize=true")


@dataclass(frozen=True)
class Place:
    """A branch for a proposal; `standing` is what Git here calls the one that holds it already, if there is one."""

    branch: str
    standing: str = ""


def merge(root: Path, ours: str, theirs: str) -> tuple[str, list[str]]:
    """Merge as Git merges branches; return the tree and the paths in conflict."""
    printed = git(
        root, *MERGE, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs, check=False
    )
    tree, *paths = printed.split("\0")
    if not tree:
        raise MlopsError(f"{git(root, 'version').strip()} cannot merge without a checkout", "install git 2.38 or newer")
    return tree, list(takewhile(bool, paths))


def merge_side(root: Path, commit: str, old: str, theirs: str) -> tuple[str, list[str]]:
    """Merge the files of a commit with the template's new side, as two changes of what it made before."""
    ours = rendering.commit_of(root, f"{commit}^{{tree}}", "The project", old)
    return merge(root, ours, theirs)


def place_for(root: Path, name: str, old: str, theirs: str, *, by_hand: bool = False) -> Place:
    """Find the branch that holds an update already, or else a name that drops nobody's work.

    `by_hand`, a person makes the branch, so that its name has to be free. Raises `MlopsError` where somebody has
    worked on the proposal and it no more merges.
    """
    for number in count(1):
        branch = name if number == 1 else f"{name}-{number}"
        tips = _tips(root, branch)
        if all(_brings(root, tip, theirs) for tip in tips.values()):
            standing = [one for one, tip in tips.items() if not _is_outdated(root, one, tip, old, theirs)]
            if standing or not (by_hand and tips):
                return Place(branch, standing[-1] if standing else "")
    raise AssertionError("numbers do not end")


def _tips(root: Path, branch: str) -> dict[str, str]:
    """The last commits of a branch, here and at origin, by what Git here calls them."""
    here = git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", check=False).strip()
    tips = {branch: here, f"origin/{branch}": vcs.fetched(root, branch)}
    return {one: tip for one, tip in tips.items() if tip}


def _brings(root: Path, tip: str, theirs: str) -> bool:
    """Whether a commit would bring an update: it records the same answers, and was not merged before."""
    if not git(root, "rev-list", "--max-count=1", tip, "--not", "HEAD").strip():
        return False
    recorded = [git(root, "show", f"{commit}:./{rendering.ANSWERS}", check=False) for commit in (tip, theirs)]
    return recorded[0] == recorded[1]


def _is_outdated(root: Path, name: str, tip: str, old: str, theirs: str) -> bool:
    """Whether a proposal no more merges with the current commit; refused where it holds more than was proposed."""
    conflicts = merge(root, "HEAD", tip)[1]
    if not conflicts:
        return False
    before = git(root, "rev-parse", "--verify", "--quiet", f"{tip}^", check=False).strip()
    proposed = before and merge_side(root, before, old, theirs)[0]
    if proposed != git(root, "rev-parse", f"{tip}^{{tree}}").strip():
        here = git(root, "branch", "--show-current").strip() or "HEAD"
        raise MlopsError(
            f"somebody has worked on the proposal in {name}, and {', '.join(conflicts)} changed here since",
            f"git switch {name.removeprefix('origin/')} && git merge {here}",
        )
    return True
