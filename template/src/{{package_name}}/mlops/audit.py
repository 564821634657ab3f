"""Does every pointer resolve? Data, registry, environments and locks, checked against each other."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import environments, git, packaging, remote
from .errors import MlopsError
from .project import Project
from .registry import Registry, Version

#: What a data card must tell: how the data came to be, and what is wrong with it.
DATA_CARD = ("Source", "Licence", "How it was collected", "How it was labelled", "Known problems")


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it holds, and what to do if not."""

    what: str
    holds: bool
    detail: str


def audit(project: Project) -> list[Finding]:
    """Run every check; a part that does not answer is a finding, not the end of the audit."""
    findings: list[Finding] = []
    for check in (_lock, _data_card, _pipeline, _remote, _environments):
        try:
            findings += check(project)
        except MlopsError as error:
            findings.append(Finding(error.problem, holds=False, detail=error.next_step))
    return sorted(findings, key=lambda finding: finding.holds)


def _lock(project: Project) -> Iterator[Finding]:
    uv = os.environ.get("UV") or shutil.which("uv") or "uv"
    done = subprocess.run(  # noqa: S603 - fixed program, arguments without a shell
        [uv, "lock", "--check", "--offline", "--quiet"], cwd=project.root, capture_output=True, check=False
    )
    yield Finding("uv.lock holds what pyproject.toml asks for", done.returncode == 0, "uv lock")


def _data_card(project: Project) -> Iterator[Finding]:
    card = project.root / "data" / "README.md"
    text = card.read_text("utf-8") if card.is_file() else ""
    absent = [heading for heading in DATA_CARD if f"## {heading}" not in text]
    detail = f"data/README.md says nothing under: {', '.join(absent)}"
    yield Finding("the data card tells where the data came from", not absent, detail)


def _pipeline(project: Project) -> Iterator[Finding]:
    stale = remote.stale(project)
    yield Finding(
        "the outputs here are those that dvc.lock names",
        not stale,
        f"{', '.join(stale)} differ: run mlops pipeline or dvc pull",
    )


def _remote(project: Project) -> Iterator[Finding]:
    absent = remote.not_in_remote(project)
    yield Finding(
        "the data remote has every object that Git points to",
        not absent,
        f"not there: {', '.join(absent)}; run: dvc push",
    )


def _environments(project: Project) -> Iterator[Finding]:
    registry = Registry.open(project)
    numbers = {version.number: version for version in registry.versions()}
    for name in environments.names(project):
        wanted = environments.load(project, name)
        release = wanted.champion
        if release is None:
            yield Finding(f"{name} names no champion yet", holds=True, detail="")
            continue
        found = numbers.get(release.version)
        same = found is not None and (found.digest, found.commit) == (release.digest, release.commit)
        yield Finding(
            f"{name} names version {release.version}, and the registry has it with that digest and commit",
            same, f"the registry has {found.digest if found else 'no such version'}",
        )  # fmt: skip
        if found is not None and same:
            yield _code(project, registry, found)
        yield from _alias(registry.alias, name, wanted.alias, release.version)
        here = git.git(project.root, "cat-file", "-t", release.commit, check=False).strip() == "commit"
        yield Finding(f"the commit of version {release.version} is in this clone", here, "git fetch --unshallow --all")


def _code(project: Project, registry: Registry, version: Version) -> Finding:
    what = f"the code in the bundle of version {version.number} is that of its commit"
    try:
        packaging.require_from_commit(project, registry.fetch(version))
    except MlopsError as error:
        return Finding(what, holds=False, detail=f"{error.problem}: {error.next_step}")
    return Finding(what, holds=True, detail="")


def _alias(alias: Callable[[str], int | None], name: str, wanted: str, version: int) -> Iterator[Finding]:
    points_to = alias(wanted)
    # No alias yet means not deployed yet; another version means that somebody moved it.
    holds = points_to in (None, version)
    yield Finding(
        f"the registry's alias {wanted} agrees with {name}",
        holds,
        f"it points to version {points_to}; run: mlops deploy {name}",
    )
