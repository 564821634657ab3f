"""What lies open on this machine, and what the repository leaves to nobody: modes of files, secrets, owners of code."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from slipway.delivery import environments
from slipway.evidence.findings import AuditFinding, not_asked
from slipway.forge import git
from slipway.log.store import LOGS
from slipway.settings.project import Project

#: A line of DVC's own settings that holds what lets somebody in.
_CREDENTIAL = re.compile(r"^\s*(password|token|\w*secret\w*|account_key|connection_string|sas_token)\s*=", re.MULTILINE)


def findings(project: Project) -> Iterator[AuditFinding]:
    """Look at files alone; nobody is asked over a network."""
    yield from _logs(project)
    yield from _secrets(project)
    yield from _review(project)


def _logs(project: Project) -> Iterator[AuditFinding]:
    what = "files of the logs on this machine are for their owner alone"
    files = [path for log in LOGS for path in (project.state / log).glob("*/*") if path.suffix != ".lock"]
    if os.name == "nt":
        yield not_asked(what, "modes of files say nothing on Windows")
    elif not files:
        yield not_asked(what, f"there is none in {project.state}")
    else:
        yield _closed(what, project, files)


def _secrets(project: Project) -> Iterator[AuditFinding]:
    what = "secrets on this machine are for their owner alone"
    found = [path for path in _places_of_secrets(project) if path.is_file()]
    if not found:
        yield not_asked(what, "there is none where the platform looks: .env, .dvc/config.local, .mlops, keys of TLS")
        return
    if os.name == "nt":
        yield not_asked(what, "modes of files say nothing on Windows")
    else:
        yield _closed(what, project, found)
    inside = [str(path) for path in found if path.is_relative_to(project.root)]
    known = git.git(project.root, "ls-files", "--", *inside, check=False).split() if inside else []
    yield AuditFinding(
        "no secret is in Git", not known, f"{', '.join(known)}: git rm --cached it, and let nobody in by it any more"
    )


def _places_of_secrets(project: Project) -> Iterator[Path]:
    yield project.root / ".env"
    local = project.root / ".dvc" / "config.local"
    if local.is_file() and _CREDENTIAL.search(local.read_text("utf-8")):
        yield local
    yield from (project.state / "keys").glob("*/*")
    yield from (project.state / "secrets").glob("*")
    for name in environments.names(project):
        if tls := environments.load(project, name).serve.tls:
            yield project.root / tls.key


def _closed(what: str, project: Project, files: list[Path]) -> AuditFinding:
    """Whether no other user of the machine can get at the files, by their own modes or by that of a folder around."""
    ends = {project.root, project.state}
    open_ = sorted(str(path) for path in files if _is_open(path, ends))
    shown = f"{', '.join(open_[:3])}{f' and {len(open_) - 3} more' if len(open_) > 3 else ''}"
    return AuditFinding(what, not open_, f"others can read {shown}: chmod go= them")


def _is_open(path: Path, ends: set[Path]) -> bool:
    while path not in ends and path != path.parent:
        if not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return False
        path = path.parent
    return True


def _review(project: Project) -> Iterator[AuditFinding]:
    """What files say of who must agree; whether the forge does as they say is the business of `mlops rules`."""
    what = "somebody else has to agree to what runs (deploy/environments)"
    owners, rules = project.root / ".github" / "CODEOWNERS", project.root / ".github" / "rules.json"
    if not owners.is_file() or not rules.is_file():
        yield not_asked(what, "here is no .github/CODEOWNERS with a rules.json beside it")
        return
    if _needs_owner(json.loads(rules.read_text("utf-8"))):
        lines = [line.split() for line in owners.read_text("utf-8").splitlines() if not line.startswith("#")]
        # The last line that fits counts, and one without an owner takes it from those before.
        fitting = [line[1:] for line in lines if line and line[0] in ("*", "/deploy/", "/deploy/environments/")]
        yield AuditFinding(
            what, bool(fitting and fitting[-1]), "rules.json asks for owners of code: name some in .github/CODEOWNERS"
        )
    else:
        yield not_asked(what, "nobody is named: mlops template update --answer reviewers=@owner/team")
    yield not_asked("the forge enforces .github/rules.json", "only who administers it may ask: mlops rules")


def _needs_owner(rules: list[dict[str, object]]) -> bool:
    asked = [one for rule in rules for one in rule.get("rules", []) if isinstance(one, dict)]  # type: ignore[attr-defined]
    return any(one.get("parameters", {}).get("require_code_owner_review") for one in asked)
