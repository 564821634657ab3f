"""What a name given to `mlops compare` means: a registered version, a commit of Git, or a run of the tracking store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.registry.models import Registry
from slipway.settings.project import Project
from slipway.training.tracking import runs_named

#: Before the number or alias of a version that has the name of something else, too.
VERSION = "version:"
#: With fewer digits, a number of a version could be the beginning of an id.
LEAST_DIGITS = 7
#: Numbers and aliases of versions and ids of runs look so; anything else only Git can know.
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ID = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},32}}")
_TOO_SHORT = re.compile(rf"[0-9a-f]{{1,{LEAST_DIGITS - 1}}}")


@dataclass(frozen=True)
class Meaning:
    """What a name means: a version's number, or the whole id of a commit or a run.

    `label` is short enough for the head of a column, `words` say what it is, and `whole` is a name of it that means
    nothing else.
    """

    kind: Literal["version", "commit", "run"]
    key: str
    label: str
    words: str
    whole: str


def meaning_of(project: Project, name: str) -> Meaning:
    """Find what is called so. Raises `MlopsError` when nothing is, or (exit code 2) when it can mean several things."""
    found = [*_versions(project, name), *_commits(project, name), *_runs(project, name)]
    if len(found) > 1:
        raise MlopsError(
            f"{name} can mean {' or '.join(one.words for one in found)}",
            f"say which: {' or '.join(one.whole for one in found)}",
            exit_code=2,
        )
    if found:
        return found[0]
    if name.startswith(VERSION) or name.isdigit():
        Registry.open(project).find(name.removeprefix(VERSION))  # says what versions there are
    raise MlopsError(
        f"nothing is called {name}: no version or alias in the registry, no branch, tag, commit or try of `dvc exp` in "
        "this clone, and no run of the tracking store",
        "uv run mlops status, git branch --all and uv run dvc exp list --all-commits show names; of an id, give "
        f"{LEAST_DIGITS} digits at least",
    )


def _versions(project: Project, name: str) -> Iterator[Meaning]:
    wanted = name.removeprefix(VERSION)
    if not _NAME.fullmatch(wanted):
        return
    number = Registry.open(project).number(wanted)
    if number is not None:
        yield Meaning("version", str(number), f"v{number}", f"version {number}", f"{VERSION}{number}")


def _commits(project: Project, name: str) -> Iterator[Meaning]:
    root, seen = project.root, set[str]()
    every = git.git(root, "for-each-ref", "--format=%(refname)", check=False).splitlines()
    refs = [ref for ref in every if _names(ref, name)] or [ref for ref in every if ref == f"refs/remotes/origin/{name}"]
    for ref in refs or ([] if _TOO_SHORT.fullmatch(name) else [name]):
        asked = ("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        commit = git.git(root, *asked, check=False).strip()
        if commit and commit not in seen:
            seen.add(commit)
            label = commit[:9] if commit.startswith(name) else name
            words = _kind(ref) or f"commit {commit[:9]}"
            yield Meaning("commit", commit, label, words, ref if refs else commit)


def _names(ref: str, name: str) -> bool:
    """Whether a reference is what a name of a branch, a tag or a try of `dvc exp` means."""
    is_try = ref.startswith("refs/exps/") and ref.count("/") == 4 and ref.endswith(f"/{name}")
    return is_try or ref in (name, f"refs/heads/{name}", f"refs/tags/{name}", f"refs/remotes/{name}")


def _kind(ref: str) -> str:
    """A reference in words; nothing for what is none."""
    for beginning, what in (("heads/", "branch"), ("tags/", "tag"), ("remotes/", "branch"), ("exps/", "try")):
        if ref.startswith(f"refs/{beginning}"):
            name = ref.removeprefix(f"refs/{beginning}")
            return f"{what} {name.rpartition('/')[2] if what == 'try' else name}"
    return ""


def _runs(project: Project, name: str) -> Iterator[Meaning]:
    if not _ID.fullmatch(name):
        return
    for run in runs_named(project, Registry.open(project).client, name):
        yield Meaning("run", run, run[:9], f"run {run[:9]}", run)
