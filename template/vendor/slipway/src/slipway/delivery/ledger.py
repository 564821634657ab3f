"""The ledger of a machine: every deployment on it, a line each. What should run, and who said so, is in Git.

It remembers from which version an environment was rolled back, so that main, which may still name that version, does
not bring it back unasked.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.forge import hosting
from slipway.settings.environment import Release
from slipway.settings.project import Project

LEDGER = "ledger.jsonl"
DEPLOYED, TAKEN_BACK, ROLLED_BACK = "deployed", "taken back", "put back"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A version that an environment was rolled back from, when that was, and the commit that had named it."""

    release: Release
    at: str
    named_by: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger; `commit` is that of the checkout that deployed, which earlier releases did not note."""

    at: str
    environment: str
    outcome: str
    release: Release
    checkout: str = ""
    left: Release | None = None
    named_by: str = ""


def write(
    project: Project, environment: str, release: Release, outcome: str, checkout: str = "", left: Hold | None = None
) -> None:
    """Note which version came to this machine, by which commit, and which one was left for it."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    entry: dict[str, Any] = {"at": at, "environment": environment, "outcome": outcome, **msgspec.to_builtins(release)}
    entry |= {"checkout": checkout} if checkout else {}
    entry |= {"left": left.release, "named_by": left.named_by} if left else {}
    with _path(project).open("ab") as ledger:
        ledger.write(msgspec.json.encode(entry) + b"\n")
    hosting.of(project).summarize(f"{environment}: version {release.version} {outcome} at {at}, `{release.digest}`")


def entries(project: Project, environment: str) -> list[Entry]:
    """What was deployed to an environment or rolled back there, the oldest first."""
    path = _path(project)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    found = [_entry(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    return [one for one in found if one.environment == environment and one.outcome in (DEPLOYED, ROLLED_BACK)]


def hold_on(project: Project, environment: str, release: Release) -> Hold | None:
    """The hold on a version: it was rolled back from and not deployed since; `None` without one."""
    hold = None
    for entry in entries(project, environment):
        if entry.left == release:
            hold = Hold(release=release, at=entry.at, named_by=entry.named_by)
        elif entry.release == release:
            hold = None
    return hold


def last_checkout(project: Project, environment: str) -> str:
    """The commit from which an environment was deployed last; empty where that is not known."""
    return next((one.checkout for one in reversed(entries(project, environment)) if one.checkout), "")


def _entry(line: bytes, where: str) -> Entry:
    try:
        said = msgspec.json.decode(line, type=dict[str, Any])
        release = {name: said[name] for name in Release.__struct_fields__ if name in said}
        return msgspec.convert({**said, "release": release}, Entry)
    except (msgspec.MsgspecError, KeyError) as error:
        raise MlopsError(
            f"the ledger of deployments cannot be read: {where}: {error}",
            "mend or remove this line; it tells what was deployed and rolled back on this machine",
        ) from None


def _path(project: Project) -> Path:
    return project.state / LEDGER
