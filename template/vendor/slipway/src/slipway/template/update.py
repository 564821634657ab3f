"""Follow the template this project was made from, without losing a line: `mlops template`.

The template is rendered outside of the project, as it was and as it is now, and Git merges the difference into the last
commit inside its own database. No file of the checkout is written, so whatever stops this leaves nothing to restore.
The result is a branch to review.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from slipway.base.errors import MlopsError
from slipway.forge import git as vcs
from slipway.forge import proposals
from slipway.forge.git import git
from slipway.forge.proposals import Proposal
from slipway.settings.project import Project
from slipway.template import answers, branches, rendering
from slipway.template.rendering import Record, number


@dataclass(frozen=True)
class Wanted:
    """What an update is to bring: a version, the newest by default; other answers; the template's new address."""

    version: str | None = None
    answers: Sequence[str] = ()
    source: str | None = None
    trust: bool = False


@dataclass(frozen=True)
class Update:
    """What a newer version of the template would make of the last commit; nothing is applied yet.

    `old` and `theirs` are what the template made and makes. `left` names files of the team's that other answers would
    have made otherwise, and that stay as they are; `fresh` is what a new project would have.
    """

    root: Path
    branch: str
    current: str
    target: str
    news: str
    old: str
    theirs: str
    merged: str
    both_changed: list[str]
    conflicts: list[str]
    left: list[str] = field(default_factory=list)
    fresh: str = ""

    @property
    def changes_nothing(self) -> bool:
        """Whether the last commit has all of it already."""
        return git(self.root, "rev-parse", "HEAD^{tree}").strip() == self.merged

    @property
    def difference(self) -> str:
        """The changes to the last commit as a patch; where both sides changed a line, it has markers."""
        return git(self.root, "diff", "HEAD", self.merged)


def prepare(
    root: Path,
    to: str | None = None,
    answers: list[str] | None = None,
    *,
    trust: bool = False,
    source: str | None = None,
) -> Update:
    """Merge a version of the template, the newest by default, or other answers, into the last commit.

    Raises `MlopsError` for changes that are not committed; nothing would be known of them.
    """
    _require_commit(root)
    return _prepared(root, Wanted(to, answers or (), source, trust))


def out_of_reach(root: Path) -> str:
    """Why the template cannot be asked from here, as when it is a folder elsewhere or private; empty when it can."""
    source = rendering.record_of(root).address
    try:
        git(root, "ls-remote", "--tags", "--refs", source)
    except MlopsError as refused:
        return f"the template at {source} cannot be read from here: {' '.join(refused.problem.split())}"
    return ""


def propose_update(update: Update) -> Proposal | None:
    """Put an update on a branch of its own; there is no proposal when nothing changes.

    A branch that holds it already is left alone, as it may hold a colleague's work, too. Raises `MlopsError` where
    both sides changed the same lines, or where a file that Git ignores is in the way.
    """
    root = update.root
    if update.changes_nothing:
        return None
    _require_room(update)
    place = branches.place_for(root, update.branch, update.old, update.theirs, by_hand=bool(update.conflicts))
    title = f"{update.target} is proposed"
    if place.standing:
        return Proposal(place.branch, title, _next_step(place.standing), is_new=False, replaces=False)
    if update.conflicts:
        raise _conflict(update, place.branch)
    message = f"Update the template to {update.target}\n\n{update.news}"
    return proposals.propose(
        Project(root), place.branch, update.merged, message, title=title, next_step=_next_step(place.branch)
    )


def _next_step(branch: str) -> str:
    return f"git diff HEAD...{branch}; git merge {branch} && uv run mlops setup"


def _require_commit(root: Path) -> None:
    vcs.head(root)
    # Other folders of a repository with several projects may be in the middle of something.
    # Git would refresh its index on the way, and a lock would stay behind if it were killed then.
    status = ("--no-optional-locks", "status", "--porcelain", "--untracked-files=all", "-z", "--", ".")
    changed = sorted(entry[3:] for entry in git(root, *status).split("\0") if entry)
    if changed:
        raise MlopsError(
            f"{len(changed)} file{'s'[: len(changed) > 1]} not committed: {', '.join(changed[:5])}",
            "commit or stash; an update starts from a commit",
        )


def _prepared(root: Path, wanted: Wanted) -> Update:
    recorded = rendering.record_of(root)
    record, current = recorded.moved(wanted.source), recorded.version
    answers.require_form(wanted.answers, recorded.answers)
    target = wanted.version or (":current:" if wanted.answers else rendering.newest(root, record))
    with rendering.rendered(root, record) as folder:
        old = _stored_as_recorded(root, folder, recorded, record)
        how = [f"--vcs-ref={target}", *(f"--data={answer}" for answer in wanted.answers), *["--trust"][: wanted.trust]]
        rendering.run_copier(root, record, "update", *how, str(folder))
        made = rendering.record_in(folder)
        target = made.version
        answers.require_asked(wanted.answers, made.answers, target)
        news = _news(rendering.changelog(root, record, target), current, target)
        theirs = rendering.store(root, folder, f"Update the template to {target}\n\n{news}", parent=old)
    merged, conflicts = branches.merge_side(root, "HEAD", old, theirs)
    packages = (str(one.answers.get("package_name")) for one in (recorded, made))
    answers.require_whole_package(root, merged, *packages)
    both = _changed(root, old, "HEAD") & _changed(root, old, theirs)
    fresh, left = _left(root, made, theirs) if wanted.answers and target == current else ("", [])
    parts = [target] * (target != current) + ([answers.slug(wanted.answers)] if wanted.answers else [])
    name = "template/" + "-".join(parts or ["address" if wanted.source else current])
    return Update(
        root, name, current, target, news, old, theirs, merged, sorted(both - set(conflicts)), conflicts, left, fresh
    )


def _stored_as_recorded(root: Path, folder: Path, recorded: Record, record: Record) -> str:
    """Store a rendering, with the template's address as the project has it, and remember it."""
    path = folder / rendering.ANSWERS
    text = path.read_text("utf-8")
    address = re.compile(r"^_src_path:.*\n(?: +.*\n)*", flags=re.MULTILINE)
    if record.source != recorded.source and (as_it_was := address.search(recorded.text)):
        path.write_text(address.sub(lambda _: as_it_was[0], text), "utf-8")
    old = rendering.store(root, folder, f"Render the template at {record.version}")
    path.write_text(text, "utf-8")
    rendering.keep(root, recorded, old)
    return old


def _left(root: Path, made: Record, theirs: str) -> tuple[str, list[str]]:
    """What a new project of these answers would be, and the files of the team's that would be others there."""
    with rendering.rendered(root, made) as folder:
        fresh = rendering.store(root, folder, "Render the template anew", parent=theirs)
    names = git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", theirs, fresh).split("\0")
    return fresh, list(filter(None, names))


def _changed(root: Path, old: str, new: str) -> set[str]:
    return set(git(root, "diff", "--name-only", "--relative", "--diff-filter=M", "-z", old, new).split("\0")) - {""}


def _news(changelog: str, current: str, target: str) -> str:
    """The entries after one version, up to and with another."""
    sections = re.split(r"^(?=## \[)", changelog, flags=re.MULTILINE)[1:]
    named = [(number(section), section.strip()) for section in sections]
    return "\n\n".join(section for version, section in named if number(current) < version <= number(target))


def _require_room(update: Update) -> None:
    """Refuse to add where Git ignores what is there: it would write over it, and nothing could bring that back."""
    what = ("--name-only", "--no-renames", "--diff-filter=A", "--relative", "-z")
    added = git(update.root, "diff", *what, "HEAD", update.merged).split("\0")
    tracked = set(git(update.root, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0"))
    taken = sorted({place for path in filter(None, added) for place in _in_the_way(update.root, path)} - tracked)
    if taken:
        raise MlopsError(
            f"{update.target} adds {', '.join(taken)}, which Git ignores here", "move it away, then run this again"
        )


def _in_the_way(root: Path, path: str) -> Iterator[str]:
    """What stands in the place of a file, or of a folder around it; a link that leads nowhere, too."""
    for folder in PurePosixPath(path).parents:
        here = root / folder
        if folder.name and (here.is_symlink() or here.is_file()):
            yield folder.as_posix()
    here = root / path
    if here.is_symlink() or here.is_file() or (here.is_dir() and any(here.iterdir())):
        yield path


def _conflict(update: Update, branch: str) -> MlopsError:
    here = git(update.root, "branch", "--show-current").strip() or "-"
    steps = (
        "paste the first line, choose in each file that `git status` calls unmerged, then paste the second;",
        "the third goes back at any time",
        f"    git switch --create {branch} && git cherry-pick {update.theirs[:12]}",
        "    git add --update && git cherry-pick --continue",
        f"    git cherry-pick --abort; git switch {here} && git branch -D {branch}",
    )
    return MlopsError(
        f"this project and {update.target} changed the same lines in {', '.join(update.conflicts)}; "
        "nothing has been changed here",
        "\n       ".join(steps),
    )
