"""Where a project differs from what its version of the template made, and what stands in the way of the platform."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from slipway.base.errors import MlopsError
from slipway.forge.git import git
from slipway.template import rendering


@dataclass(frozen=True)
class ChangedFile:
    """A file that is not as the recorded version of the template made it."""

    path: str
    owner: str
    is_missing: bool
    added: int
    removed: int


@dataclass(frozen=True)
class Drift:
    """What an audit found. `rendered` is the commit with what the version made, `kept` why that is one of before."""

    files: list[ChangedFile]
    obstacles: list[tuple[str, str]]
    rendered: str
    kept: str = ""


def audit(root: Path) -> Drift:
    """Compare the last commit with what the recorded version rendered, now or, where that cannot be had, earlier."""
    record, kept = rendering.record_of(root), ""
    try:
        with rendering.rendered(root, record) as folder:
            old = rendering.store(root, folder, "Render the template as recorded")
        rendering.keep(root, record, old)
    except MlopsError as error:
        kept, old = error.problem, rendering.kept(root, record)
        if not old:
            raise
    numbers = ("diff", "--numstat", "--no-renames", "-z", "--diff-filter=MDT", "--relative", old, "HEAD")
    counts = _counts(git(root, *numbers))
    present = set(git(root, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0"))
    owners = _owners(root, old, list(counts))
    found = [ChangedFile(path, owners[path], path not in present, *count) for path, count in counts.items()]
    obstacles = [
        *_ignored(root, [file.path for file in found if file.is_missing]),
        *_second_package(str(record.answers.get("package_name", "")), present),
        *_taken_stages(root, old),
    ]
    return Drift(sorted(found, key=lambda file: (file.owner, file.path)), obstacles, old, kept)


def unused(root: Path) -> list[str]:
    """Name the module that lets imports of before 0.4.0 go on, once nothing imports it any more."""
    kept = git(root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", "src").split("\0")
    imports = r"mlops(\.schema\b| import .*\bschema\b)"
    used = git(root, "grep", "--name-only", "-E", imports, "HEAD", "--", "*.py", ":!vendor", check=False)
    return [path for path in kept if re.fullmatch(r"src/\w+/mlops/schema\.py", path) and not used]


def _counts(numstat: str) -> dict[str, tuple[int, int]]:
    """Lines added and removed by path; a binary file counts none."""
    entries = (entry.split("\t", 2) for entry in numstat.split("\0") if entry)
    return {path: (int(added.strip("-") or 0), int(removed.strip("-") or 0)) for added, removed, path in entries}


def _owners(root: Path, old: str, paths: list[str]) -> dict[str, str]:
    """Ask the template's own .gitattributes; the project may have another."""
    with rendering.index_of(root, old) as index:
        asked = git(root, "check-attr", "--cached", "-z", "--stdin", "owner", text="\0".join(paths), env=index)
    parts = asked.split("\0")
    return {path: value.replace("unspecified", "yours") for path, value in zip(parts[0::3], parts[2::3], strict=False)}


def _ignored(root: Path, missing: list[str]) -> Iterator[tuple[str, str]]:
    """Files that a rule of the team's keeps out of every commit, by the rule."""
    given = "\0".join(missing)
    printed = git(root, "check-ignore", "--verbose", "--no-index", "-z", "--stdin", text=given, check=False)
    parts = printed.split("\0")
    rules: dict[str, list[str]] = {}
    for source, line, pattern, path in zip(parts[0::4], parts[1::4], parts[2::4], parts[3::4], strict=False):
        if not pattern.startswith("!"):
            rules.setdefault(f"{source} ignores {pattern} (line {line})", []).append(path)
    for rule, paths in rules.items():
        few = f" or: git add --force -- {shlex.join(paths)}" if len(paths) <= 10 else ""
        yield (
            f"{len(paths)} file{'s'[: len(paths) > 1]} of the template can be in no commit, because {rule}",
            f"take that line out, then git add --all{few}",
        )


def _second_package(package: str, present: set[str]) -> Iterator[tuple[str, str]]:
    own = [path for path in present if path.startswith(f"{package}/") and path.endswith(".py")]
    if package and own and any(path.startswith(f"src/{package}/") for path in present):
        yield (
            f"{package}/ and src/{package}/ are two packages of one name, of which Python imports either",
            f"git mv --force {package}/* src/{package}/",
        )


def _taken_stages(root: Path, old: str) -> Iterator[tuple[str, str]]:
    """Stages of the team's that stand under a name of the platform's: only one of two equal keys is read."""
    try:
        ours, theirs = (_commands(git(root, "show", f"{commit}:./dvc.yaml", check=False)) for commit in ("HEAD", old))
    except yaml.YAMLError:
        yield "dvc.yaml of the last commit is no YAML", "mend it: uv run dvc stage list"
        return
    taken = [name for name, command in theirs.items() if name in ours and command not in ours[name]]
    if taken:
        yield (
            f"dvc.yaml has stages of yours under names of the platform's: {', '.join(taken)}",
            f"give yours other names, like own-{taken[0]}, in dvc.yaml and dvc.lock, before you add the platform's",
        )


def _commands(text: str) -> dict[str, str]:
    read = yaml.safe_load(text)
    stages = read.get("stages") if isinstance(read, dict) else None
    named = stages.items() if isinstance(stages, dict) else ()
    return {str(name): str(stage.get("cmd", "")) for name, stage in named if isinstance(stage, dict)}
