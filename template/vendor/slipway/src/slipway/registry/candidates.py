"""Candidates of `params.yaml` as versions of the registry: each learns in a checkout and at a commit of its own.

A version is traced by the commit that made it, so the values of a candidate have to be in one. What is made there is
what `mlops pipeline` and `mlops register` make of any other commit, with the same gates, cache, remote and registry.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.files import Log, write
from slipway.base.numbers import counted, shown
from slipway.data import access, dvc
from slipway.forge import git
from slipway.registry import register as registration
from slipway.registry.models import Registry, Version
from slipway.settings.params import PARAMS, with_model
from slipway.settings.project import Project
from slipway.training import pipeline
from slipway.training.candidates_result import CandidateRow, CandidatesResult, values_in_words
from slipway.training.gates import REPORT, check_gates
from slipway.training.tracking import store_uri

#: How long the pipelines of a start that was killed may go on before their checkouts are taken away.
LEFT_S = 600


@dataclass(frozen=True)
class CandidateOutcome:
    """What became of a candidate: a version with its `value` of the metric on the test rows, or why there is none."""

    name: str
    reason: str = ""
    version: Version | None = None
    branch: str = ""
    value: float = 0.0
    gates: int = 0
    is_new: bool = False


def require_registrable(project: Project, *, push: bool) -> None:
    """Refuse a checkout from which no candidate could be registered, before anything is measured."""
    git.require_clean(project.root, "register candidates")
    git.require_whole_history(project.root)
    if push and not git.has_origin(project.root):
        raise MlopsError("this clone has no origin to send commits to", "leave out --push, or: git remote add origin …")


def register(project: Project, result: CandidatesResult, log: Log, *, push: bool = False) -> list[CandidateOutcome]:
    """Make a version of each candidate that was measured, as many at a time as the local engine has workers.

    One that is there already is that version. With `push`, their commits go to origin.
    """
    require_registrable(project, push=push)
    commit = git.head(project.root)
    rows = sorted((row for row in result.candidates if row.number), key=lambda row: row.number)
    with project.only_one("candidates"), _checkouts(project) as place, _side_by_side(project) as pool:
        learned = [pool.submit(_learned, project, commit, row, place / str(row.number), log) for row in rows]
        return [_registered(row, one, result.metric, log, push=push) for row, one in zip(rows, learned, strict=True)]


@contextmanager
def _checkouts(project: Project) -> Iterator[Path]:
    """The folder of the checkouts, which are gone at the end, as are those that a killed start has left."""
    place = project.state / "checkouts"
    for tree in _trees(project, place):
        with Project(tree / git.prefix(project.root)).only_one("pipeline", LEFT_S):
            pass
    _clear(project, place)
    try:
        yield place
    finally:
        _clear(project, place)


def _trees(project: Project, place: Path) -> list[Path]:
    return [folder / project.root.name for folder in sorted(place.glob("*"))]


def _clear(project: Project, place: Path) -> None:
    for tree in _trees(project, place):
        git.git(project.root, "worktree", "remove", "--force", str(tree), check=False)
    shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _side_by_side(project: Project) -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for pipelines; what an error leaves undone is not begun."""
    tool = project.tool
    pool = ThreadPoolExecutor((tool.engine_workers or 1) if tool.engine == "local" else 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _learned(project: Project, commit: str, row: CandidateRow, folder: Path, log: Log) -> Project:
    """Run the pipeline on a candidate's values in a checkout of its own; return that, with everything committed."""
    if row.mean is None:
        raise MlopsError(f"it could not be measured: {row.reason}", "mend it in params.yaml")
    tree = _checkout(project, commit, folder)
    text = with_model((tree.root / PARAMS).read_text("utf-8"), row.changes)
    write(tree.root / PARAMS, text.encode())
    message = f"Use the candidate {row.name}\n\nOf {PARAMS} at {commit[:12]}: {values_in_words(row)}\n"
    git.git(tree.root, "commit", "--no-verify", "--quiet", "-m", message, "--", PARAMS)
    log(f"candidates: {row.name}: running the pipeline")
    told = project.state / "candidates" / f"{row.number}.log"
    command = sys.executable, "-m", "slipway", "pipeline"
    done = programs.run(*command, cwd=tree.root, env=_environment(project, tree), install="uv sync")
    write(told, f"{done.output}\n{done.errors}".encode())
    if done.code:
        said = (line.removeprefix("error: ") for line in done.errors.splitlines() if line.startswith("error: "))
        raise MlopsError(
            f"{next(said, done.last_words())}; all that was said is in {told}", "mend it, then run this again"
        )
    pipeline.commit(tree, f"Record what the pipeline made of the candidate {row.name}")
    return tree


def _checkout(project: Project, commit: str, folder: Path) -> Project:
    """A commit in a checkout of its own, with the cache and remotes of DVC and the store of runs that this one has."""
    top = folder / project.root.name  # lineage names a repository without an origin by its folder
    git.git(project.root, "worktree", "add", "--quiet", "--force", "--detach", str(top), commit)
    tree = Project(top / git.prefix(project.root))
    tree.tool.tracking_uri = store_uri(project)
    dvc.share(project, tree)
    return tree


def _environment(project: Project, tree: Project) -> dict[str, str]:
    """All that a person who types a command has; but each checkout has its own code and state, and all one store."""
    own = {name: value for name, value in os.environ.items() if name not in {*programs.GIT_LOCAL, "MLOPS_STATE"}}
    return own | access.code_of(tree.root) | {"MLFLOW_TRACKING_URI": store_uri(project)}


def _registered(row: CandidateRow, learned: Future[Project], metric: str, log: Log, *, push: bool) -> CandidateOutcome:
    try:
        tree = learned.result()
        version, is_new = registration.register(tree, lambda line: log(f"candidates: {row.name}: {line}"))
        branch = (registration.send if push else registration.keep)(tree, version)
    except MlopsError as error:
        return CandidateOutcome(row.name, reason=error.problem)
    Registry.open(tree).set_candidate(version.number, row.name)
    value = msgspec.json.decode((tree.root / REPORT).read_bytes())["model"][metric]
    return CandidateOutcome(row.name, "", version, branch, value, len(check_gates(tree)), is_new)


def outcomes_text(outcomes: list[CandidateOutcome], metric: str) -> Iterator[str]:
    """A line for each candidate: its version, or why it has none."""
    width = max(len(one.name) for one in outcomes)
    for one in outcomes:
        if one.version is None:
            yield f"{one.name:<{width}}  not registered: {one.reason}"
            continue
        known = "" if one.is_new else ", as before"
        passed = f"{counted(one.gates, 'gate')} passed"
        yield (
            f"{one.name:<{width}}  version {one.version.number}{known}, {metric} {shown(one.value)} in evaluation, "
            f"{passed}, branch {one.branch}"
        )


def require_all(outcomes: list[CandidateOutcome]) -> None:
    """Refuse to call it done where a candidate has no version."""
    if left := [one.name for one in outcomes if one.version is None]:
        raise MlopsError(
            f"{len(left)} of {counted(len(outcomes), 'candidate')} ha{'s' if len(left) == 1 else 've'} no version: "
            f"{', '.join(left)}",
            "mend what is said above, commit it and run this again: what has a version keeps it",
        )
