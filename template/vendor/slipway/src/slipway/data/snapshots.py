"""Raw data from a query or a bucket, as a snapshot: a folder that DVC keeps, whose pointer says where it came from.

A draft is made and checked beside the data, and takes the place of the snapshot before it when all is well. The record
stands in the pointer's `meta`, which DVC leaves alone: both are one file in Git, so neither is ever without the other.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from slipway.base.errors import MlopsError
from slipway.base.files import Log, sha256, write
from slipway.contract.files import columns_of
from slipway.data import dvc, fetching, origins, place
from slipway.data.origins import Snapshot
from slipway.data.prepare import kept, read_delivered
from slipway.forge import git
from slipway.settings.params import SnapshotParams
from slipway.settings.project import Project

#: Where a draft lies, from the root. DVC keeps nothing that Git ignores.
_DRAFT, _BEFORE = "data/.snapshot", ".before"
_MEND = "mend the data or how it is asked for, or if the world has changed, change contract.py; then: mlops snapshot"


@dataclass(frozen=True)
class Draft:
    """A snapshot that is whole and keeps the contract, beside the one before it; `pointer` is the text of its pointer.

    It is not new when the same query or bucket gives what it gave before.
    """

    folder: Path
    pointer: str
    record: Snapshot
    is_new: bool


@contextmanager
def draft(project: Project, log: Log) -> Iterator[Draft]:
    """Take the raw data anew, and hold it against the contract; the draft is gone when the block ends.

    Raises `MlopsError` for a source that cannot be read and for rows that break the contract: what was there stays.
    """
    rule = _rule(project)
    home = project.root / _DRAFT
    folder = home / Path(project.params.data.delivered).name
    with project.only_one("snapshot"):
        shutil.rmtree(home, ignore_errors=True)
        _unstage(project)
        folder.mkdir(parents=True)
        # Before there is anything, so that what a killed process leaves is in no commit.
        (home / ".gitignore").write_text(f"/{folder.name}\n/{_BEFORE}\n", encoding="utf-8")
        try:
            yield _made(project, rule, folder, log)
        except OSError as error:
            raise MlopsError(
                f"the snapshot cannot be written: {error}", "make room there, then run this again"
            ) from None
        except MlopsError as error:
            problem = error.problem.replace(f"{folder}/", "").replace(str(folder), rule.source)
            raise MlopsError(problem, error.next_step, exit_code=error.exit_code) from None
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _rule(project: Project) -> SnapshotParams:
    if project.params.data.snapshot is None:
        raise MlopsError(
            "params.yaml names nothing that raw data could be taken from",
            "name a query or a bucket in data.snapshot, as vendor/slipway/docs/data.md shows it",
        )
    return project.params.data.snapshot


def _made(project: Project, rule: SnapshotParams, folder: Path, log: Log) -> Draft:
    before, is_intact = origins.recorded(project)
    log(f"taking raw data from {rule.source}")
    types = _fetched(project, rule, folder, log)
    rows = kept(read_delivered(project, folder=folder), project, _MEND).height
    dvc.add(project, folder)
    _unstage(project)
    pointer: dict[str, Any] = yaml.safe_load(folder.with_name(f"{folder.name}.dvc").read_bytes())
    text = (project.root / rule.query).read_text("utf-8") if rule.query else ""
    record = Snapshot(
        source=rule.source,
        at=datetime.now(UTC).replace(microsecond=0),
        rows=rows,
        columns={name: " or ".join(sorted(found)) or "nothing" for name, found in types.items()},
        sha256=_content(folder),
        md5=pointer["outs"][0]["md5"],
        query=rule.query or "",
        text_sha256=origins.digest(project.root / rule.query) if rule.query else "",
        text=text,
    )
    if before and is_intact and msgspec.structs.replace(record, at=before.at) == before:
        return Draft(folder, (project.root / origins.pointer_of(project)).read_text("utf-8"), before, is_new=False)
    pointer["meta"] = {"snapshot": msgspec.to_builtins(record)}
    return Draft(folder, _dumped(pointer), record, is_new=True)


def _unstage(project: Project) -> None:
    """Take a draft out of the next commit, for which DVC notes what it keeps where `core.autostage` is set."""
    git.git(project.root, "rm", "--quiet", "-r", "--cached", "--ignore-unmatch", "--", _DRAFT)


def _fetched(project: Project, rule: SnapshotParams, folder: Path, log: Log) -> dict[str, set[str]]:
    """Fill a folder; returns the types of each column."""
    if rule.query:
        return fetching.fetch_rows(project, rule, rule.query, folder, log)
    fetching.fetch_files(rule.source, folder, log)
    # What the team's own function reads need be no table.
    return {} if project.params.data.raw else columns_of(folder, project.params.data.format)


def take(project: Project, log: Log) -> Draft:
    """Put a new snapshot in the place of the one before it. Raises `MlopsError` as `draft` does."""
    _rule(project)
    target = project.root / project.params.data.delivered
    if target.exists() and origins.recorded(project)[0] is None:
        raise MlopsError(
            f"{project.params.data.delivered} holds what no snapshot made, and would be lost",
            "move it away, or name another folder in params.yaml",
        )
    with draft(project, log) as made, project.only_one("pipeline"):
        _ignore(target)
        if target.exists():
            target.rename(made.folder.with_name(_BEFORE))
        made.folder.rename(target)
        write(project.root / origins.pointer_of(project), made.pointer.encode())
        return made


def require_sendable(project: Project) -> None:
    """Refuse to propose rows that nobody else could fetch, or without a snapshot that they would replace."""
    origins.remarks(project)
    remote = place.reach(project.root)
    if not remote.there:
        raise MlopsError(
            f"newer rows cannot be proposed without {remote.how}, from which others fetch them",
            f"connect it (docs/ci.md), or here: {origins.AGAIN}",
        )


def send(project: Project, made: Draft) -> None:
    """Send a draft to the data remote, so that whoever reviews it can learn from it."""
    dvc.push(project, made.folder.with_name(f"{made.folder.name}.dvc"))


def _ignore(target: Path) -> None:
    """Keep what DVC keeps out of Git, as DVC does it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path, line = target.with_name(".gitignore"), f"/{target.name}"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    if line not in lines:
        write(path, "".join(f"{one}\n" for one in [*lines, line]).encode())


def _content(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Readable(yaml.SafeDumper):
    """Writes a text of several lines as lines."""


def _as_lines(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _as_lines)


def _dumped(pointer: dict[str, Any]) -> str:
    return yaml.dump(pointer, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=120)
