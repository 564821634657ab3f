"""Where a snapshot of raw data came from, as the pointer of DVC has it in Git.

The record stands in the pointer's `meta`, which DVC leaves alone: neither is ever without the other.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from slipway.base.errors import MlopsError
from slipway.base.files import sha256
from slipway.base.numbers import counted
from slipway.settings.project import Project

AGAIN = "uv run mlops snapshot, then commit what it names"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where raw data came from and when, in UTC.

    `source` is the variable that had the database's address, or the bucket's address; `text` and `text_sha256` are the
    query's file `query`. `rows` counts those that keep the contract, `columns` says which types each had, `sha256` is
    that of the lines `sha256sum` prints of the files in the order of their names, and `md5` DVC's address of them.
    """

    source: str
    at: datetime
    rows: int
    columns: dict[str, str]
    sha256: str
    md5: str
    query: str = ""
    text_sha256: str = ""
    text: str = ""

    def __str__(self) -> str:
        made = f", {self.query} sha256 {self.text_sha256[:12]}" if self.query else ""
        return f"{self.source}{made}, {counted(self.rows, 'row')} at {self.at:%Y-%m-%dT%H:%M:%SZ}"


def pointer_of(project: Project) -> str:
    """The path, from the root, of the pointer to a snapshot."""
    return f"{project.params.data.delivered}.dvc"


def taken(project: Project) -> Snapshot | None:
    """The snapshot in this checkout; none where nobody asks for one or it was not taken yet.

    Raises `MlopsError` when its files were changed afterwards, which DVC writes into the pointer.
    """
    if project.params.data.snapshot is None:
        return None
    found, is_intact = recorded(project)
    if found and not is_intact:
        raise MlopsError(
            f"{project.params.data.delivered} was changed after it was taken from {found.source}",
            f"take it anew: {AGAIN}",
        )
    return found


def recorded(project: Project) -> tuple[Snapshot | None, bool]:
    """What the pointer says of its snapshot, and whether DVC still has its files under that name."""
    path = project.root / pointer_of(project)
    if not path.is_file():
        return None, False
    pointer: dict[str, Any] = yaml.safe_load(path.read_bytes())
    told = (pointer.get("meta") or {}).get("snapshot")
    if told is None:
        return None, False
    found = msgspec.convert(told, Snapshot)
    return found, found.md5 == pointer["outs"][0]["md5"]


def remarks(project: Project) -> list[str]:
    """What sets the snapshot apart from what is asked for now. Raises `MlopsError` where there is none yet."""
    rule, found = project.params.data.snapshot, taken(project)
    if rule is None:
        return []
    if found is None:
        raise MlopsError(f"there is no snapshot in {project.params.data.delivered} yet", AGAIN)
    if (found.source, found.query) != (rule.source, rule.query or ""):
        return [f"the snapshot was taken from {found}, and params.yaml names another source: {AGAIN}"]
    if rule.query and digest(project.root / rule.query) != found.text_sha256:
        return [f"{rule.query} has changed since the snapshot was taken: {AGAIN}"]
    return []


def digest(path: Path) -> str:
    """The digest of a query's file; empty where there is none."""
    return sha256(path) if path.is_file() else ""
