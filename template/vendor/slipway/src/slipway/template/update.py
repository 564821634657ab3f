"""Follow the template this project was made from, without losing a line: `mlops template`.

The template is rendered outside of the project, as it was and as it is now, and Git merges the difference into the last
commit inside its own database. No file of the checkout is written, so whatever stops this leaves nothing to restore.
The result is a branch to review.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import yaml

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.forge import git as vcs
from slipway.forge import proposals
from slipway.forge.git import git
from slipway.forge.proposals import Proposal
from slipway.settings.project import Project

ANSWERS = ".copier-answers.yml"
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
# Whoever runs this may have hooks, signatures or line ends that have no place in a temporary repository.
QUIET_GIT = {"core.hooksPath": os.devnull, "commit.gpgSign": "false", "core.autocrlf": "false"}
# The team's new files stay in a folder that is renamed, and line ends are no difference.
MERGE = ("-c", "merge.directoryRenames=false", "-c", "merge.renormalize=true")


@dataclass(frozen=True)
class Update:
    """What a newer version of the template would make of the last commit; nothing is applied yet."""

    root: Path
    current: str
    target: str
    news: str
    theirs: str
    merged: str
    both_changed: list[str]
    conflicts: list[str]

    @property
    def branch(self) -> str:
        """Where the proposal goes."""
        return f"template/{self.target}" if self.target != self.current else "template/answers"

    @property
    def changes_nothing(self) -> bool:
        """Whether the last commit has all of it already."""
        return git(self.root, "rev-parse", "HEAD^{tree}").strip() == self.merged

    @property
    def difference(self) -> str:
        """The changes to the last commit as a patch; where both sides changed a line, it has markers."""
        return git(self.root, "diff", "HEAD", self.merged)


@dataclass(frozen=True)
class ChangedFile:
    """A file that is not as the recorded version of the template made it."""

    path: str
    owner: str
    is_missing: bool
    added: int
    removed: int


def prepare(root: Path, to: str | None = None, answers: list[str] | None = None, *, trust: bool = False) -> Update:
    """Merge a version of the template, the newest by default, or other answers, into the last commit.

    Raises `MlopsError` for changes that are not committed; nothing would be known of them.
    """
    _require_commit(root)
    recorded = _recorded(root)
    source, current = _source(recorded), str(recorded["_commit"])
    target = to or (":current:" if answers else _newest(root, source, current))
    with _rendered(root) as folder:
        old = _commit(root, folder, f"Render the template at {current}")
        options = [f"--vcs-ref={target}", *(f"--data={answer}" for answer in answers or []), *["--trust"][: int(trust)]]
        _copier(root, "update", "--quiet", "--defaults", *options, str(folder))
        target = str(yaml.safe_load((folder / ANSWERS).read_text("utf-8"))["_commit"])
        news = _news(_changelog(root, source, target), current, target)
        theirs = _commit(root, folder, f"Update the template to {target}\n\n{news}", parent=old)
    ours = git(root, "commit-tree", "HEAD^{tree}", "-p", old, "-m", "The project").strip()
    merged, conflicts = _merge(root, ours, theirs)
    both = _changed(root, old, ours) & _changed(root, old, theirs)
    return Update(
        root, current, target, news, theirs, merged, both_changed=sorted(both - set(conflicts)), conflicts=conflicts
    )


def out_of_reach(root: Path) -> str:
    """Why the template cannot be asked from here, as when it is a folder elsewhere or private; empty when it can."""
    source = _source(_recorded(root))
    try:
        git(root, "ls-remote", "--tags", "--refs", source)
    except MlopsError as refused:
        return f"the template at {source} cannot be read from here: {' '.join(refused.problem.split())}"
    return ""


def propose_update(update: Update) -> Proposal | None:
    """Put an update on a branch of its own; there is no proposal when nothing changes.

    A branch that exists is left alone: it may hold a colleague's work. Raises `MlopsError` where both sides changed
    the same lines.
    """
    root, branch = update.root, update.branch
    if update.changes_nothing:
        return None
    if not vcs.has_branch(root, branch):
        _require_applicable(update)
    return proposals.propose(
        Project(root), branch, update.merged, f"Update the template to {update.target}\n\n{update.news}",
        title=f"{update.target} is proposed", replace=False,
        next_step=f"git diff HEAD...{branch}, git merge {branch}, uv run mlops setup; or git branch -D {branch}",
    )  # fmt: skip


def audit(root: Path) -> tuple[list[ChangedFile], str]:
    """Compare the last commit with what the recorded version rendered; return the differences and that render's id."""
    with _rendered(root) as folder:
        old = _commit(root, folder, "Render the template as recorded")
        counts = _counts(
            git(root, "diff", "--numstat", "--no-renames", "-z", "--diff-filter=MDT", "--relative", old, "HEAD")
        )
        kept = set(git(root, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0"))
        owners = _owners(folder, list(counts))
    found = (ChangedFile(path, owners[path], path not in kept, *count) for path, count in counts.items())
    return sorted(found, key=lambda difference: (difference.owner, difference.path)), old


def unused(root: Path) -> list[str]:
    """Name the module that lets imports of before 0.4.0 go on, once nothing imports it any more."""
    kept = git(root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", "src").split("\0")
    imports = r"mlops(\.schema\b| import .*\bschema\b)"
    used = git(root, "grep", "--name-only", "-E", imports, "HEAD", "--", "*.py", ":!vendor", check=False)
    return [path for path in kept if re.fullmatch(r"src/\w+/mlops/schema\.py", path) and not used]


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


def _require_applicable(update: Update) -> None:
    if update.conflicts:
        raise MlopsError(
            f"this project and {update.target} changed the same lines in {', '.join(update.conflicts)}; "
            "nothing has been changed here",
            f"git switch --create {update.branch} && git cherry-pick {update.theirs[:12]}, choose in each file, "
            "git add it, git cherry-pick --continue; to go back at any time: git cherry-pick --abort",
        )
    # Git would write a new file over one that it ignores, and nothing could bring that back.
    added = git(
        update.root, "diff", "--name-only", "--no-renames", "--diff-filter=A", "--relative", "-z", "HEAD", update.merged
    )
    taken = [path for path in filter(None, added.split("\0")) if (update.root / path).exists()]
    if taken:
        raise MlopsError(
            f"{update.target} adds {', '.join(taken)}, which Git ignores here", "move it away, then run this again"
        )


def _recorded(root: Path) -> dict[str, object]:
    text = git(root, "show", f"HEAD:./{ANSWERS}", check=False)
    recorded = yaml.safe_load(text) or {}
    if not {"_commit", "_src_path"} <= recorded.keys():
        raise MlopsError(
            f"the last commit has no {ANSWERS} that names a template and its version",
            f"restore it: git log --all -- {ANSWERS}",
        )
    return recorded


def _source(recorded: dict[str, object]) -> str:
    """The template's address as Git reads it; Copier knows short ones."""
    source = str(recorded["_src_path"]).removeprefix("git+")
    start = source[:3]
    return SHORT[start] + source[3:] if start in SHORT else source


def _newest(root: Path, source: str, current: str) -> str:
    """The newest released version; trial versions, like v2.0.0rc1, are taken by name only."""
    tags = git(root, "ls-remote", "--tags", "--refs", source).split()[1::2]
    names = (tag.removeprefix("refs/tags/") for tag in tags)
    return max([current, *(name for name in names if re.fullmatch(r"v?\d+\.\d+\.\d+", name))], key=_number)


@contextmanager
def _rendered(root: Path) -> Iterator[Path]:
    """A repository with nothing but what the recorded version makes of the recorded answers."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / root.name
        folder.mkdir()
        (folder / ANSWERS).write_text(git(root, "show", f"HEAD:./{ANSWERS}"), "utf-8")
        _copier(root, "recopy", "--quiet", "--defaults", "--overwrite", "--vcs-ref=:current:", str(folder))
        git(folder, "init", "--quiet", env=_environment())
        git(folder, "add", "--all", "--force", env=_environment())
        who = ("-c", "user.name=mlops", "-c", "user.email=mlops@localhost")
        git(folder, *who, "commit", "--quiet", "-m", "The recorded version", env=_environment())
        yield folder


def _commit(root: Path, folder: Path, message: str, parent: str | None = None) -> str:
    """Store the files of a folder as a commit that is on no branch, at the project's place in its repository."""
    place = git(root, "rev-parse", "--show-prefix").strip()
    store = git(root, "rev-parse", "--absolute-git-dir").strip()
    with tempfile.TemporaryDirectory() as made:
        index = {"GIT_INDEX_FILE": str(Path(made) / "index")}
        git(folder, f"--git-dir={store}", "--work-tree=.", "add", "--all", "--force", env=_environment() | index)
        tree = git(root, "write-tree", env=index).strip()
        if place:
            git(root, "read-tree", "--empty", env=index)
            git(root, "read-tree", f"--prefix={place}", tree, env=index)
            tree = git(root, "write-tree", env=index).strip()
    return git(root, "commit-tree", tree, *(["-p", parent] if parent else []), "-m", message).strip()


def _merge(root: Path, ours: str, theirs: str) -> tuple[str, list[str]]:
    """Merge as Git merges branches; return the tree and the paths in conflict."""
    printed = git(
        root, *MERGE, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs, check=False
    )
    tree, *paths = printed.split("\0")
    if not tree:
        raise MlopsError(f"{git(root, 'version').strip()} cannot merge without a checkout", "install git 2.38 or newer")
    return tree, list(takewhile(bool, paths))


def _changed(root: Path, old: str, new: str) -> set[str]:
    return set(git(root, "diff", "--name-only", "--relative", "--diff-filter=M", "-z", old, new).split("\0")) - {""}


def _counts(numstat: str) -> dict[str, tuple[int, int]]:
    """Lines added and removed by path; a binary file counts none."""
    entries = (entry.split("\t", 2) for entry in numstat.split("\0") if entry)
    return {path: (int(added.strip("-") or 0), int(removed.strip("-") or 0)) for added, removed, path in entries}


def _owners(folder: Path, paths: list[str]) -> dict[str, str]:
    """Ask the template's own .gitattributes; the project may have another."""
    printed = git(folder, "check-attr", "-z", "--stdin", "owner", text="\0".join(paths)).split("\0")
    return {
        path: value.replace("unspecified", "yours") for path, value in zip(printed[0::3], printed[2::3], strict=False)
    }


def _changelog(root: Path, source: str, version: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        what = ("--quiet", "--no-checkout", "--depth=1", f"--branch={version}")
        git(root, "clone", *what, source, folder, env=_environment(), check=False)
        return git(Path(folder), "show", "HEAD:CHANGELOG.md", check=False)


def _news(changelog: str, current: str, target: str) -> str:
    """The entries after one version, up to and with another."""
    sections = re.split(r"^(?=## \[)", changelog, flags=re.MULTILINE)[1:]
    named = [(_number(section), section.strip()) for section in sections]
    return "\n\n".join(section for number, section in named if _number(current) < number <= _number(target))


def _number(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+\.\d+\.\d+", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _copier(root: Path, *arguments: str) -> None:
    environment = os.environ | _environment()
    done = programs.run(sys.executable, "-m", "copier", *arguments, cwd=root, env=environment, install="uv sync")
    if done.code == 4:
        raise MlopsError("this update runs scripts of the template, to carry files along that it moves",
                         "read its hooks/, then run this again with --trust")  # fmt: skip
    if done.code:
        raise MlopsError(
            f"copier {arguments[0]} says: {done.last_words(1) or 'nothing'}",
            "mend this; nothing has been changed here. Is it installed? uv sync",
        )


def _environment() -> dict[str, str]:
    """Settings of Git for a temporary repository, behind those the environment may hold already."""
    first = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    settings = {"GIT_CONFIG_COUNT": str(first + len(QUIET_GIT))}
    for number, (key, value) in enumerate(QUIET_GIT.items(), start=first):
        settings |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return settings
