"""Known weaknesses of what `uv.lock` names, less those that the policy accepts until a day: `mlops advisories`.

uv asks a public database. One that does not answer says nothing about a change, so that is told and blocks nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.settings.project import Project

#: uv's own words where nobody answered, or with an error.
_NO_ANSWER = ("Request failed", "error sending request", "HTTP status")


@dataclass(frozen=True)
class Advisories:
    """What is known: a line each for what is open, and for what is worth a word; or why nobody could be asked."""

    open: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    unreachable: str = ""


def look_up(project: Project, today: date, database: str | None = None) -> Advisories:
    """Ask the database about every package of the lock, those for development, too.

    Raises `MlopsError` where the lock is not that of `pyproject.toml`.
    """
    where = ["--service-url", database] if database else []
    features = ["--preview-features", "audit-command", "--preview-features", "json-output"]
    done = programs.run(
        "uv", "audit", "--locked", "--output-format", "json", *features, *where,
        cwd=project.root, install="install uv 0.13.9 or newer",
    )  # fmt: skip
    try:
        found: dict[str, Any] = msgspec.json.decode(done.raw)
    except msgspec.DecodeError:
        if any(words in done.errors for words in _NO_ANSWER):
            return Advisories(unreachable=done.last_words(1))
        raise MlopsError(f"uv audit says: {done.last_words(3)}", "mend this and run: mlops advisories") from None
    return _judged(found, project.policy.advisories.accept, today)


def _judged(found: dict[str, Any], accept: dict[str, date], today: date) -> Advisories:
    judged, met = Advisories(), set()
    for one in found["vulnerabilities"]:
        names = {one["id"], *one["aliases"]}
        until = max((day for name, day in accept.items() if name in names), default=None)
        met |= names
        package = f"{one['dependency']['name']} {one['dependency']['version']}"
        cure = f"mended in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "not mended yet"
        line = f"{one['id']}, {package}, {cure}: {one['summary'] or 'no summary'} ({one['link'] or 'no page'})"
        if until and today <= until:
            judged.noted.append(f"{line}, accepted until {until}")
        else:
            judged.open.append(f"{line}, was accepted until {until}" if until else line)
    # A package that is archived or in quarantine is worth a word; what follows is a person's business.
    judged.noted.extend(f"{one['name']} is {one['status']}" for one in found["adverse_statuses"])
    judged.noted.extend(f"{name} is accepted and no more found: take it out" for name in accept.keys() - met)
    return judged
