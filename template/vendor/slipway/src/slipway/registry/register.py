"""From a finished pipeline to a version in the registry, with every link of its lineage checked."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from slipway.base.errors import MlopsError
from slipway.base.files import Log, sha256
from slipway.data import dvc, origins
from slipway.forge import git
from slipway.registry import cards, packaging, readable
from slipway.registry.models import Registry, Version
from slipway.settings.base import read_settings
from slipway.settings.environment import Environment
from slipway.settings.params import ASIDE, PARAMS
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.gates import check_gates, require_passed
from slipway.training.pipeline import pipeline_digest
from slipway.training.tracking import find_deleted_run, find_run, shown, store_uri

LOCK, COST = "dvc.lock", "reports/cost.json"
#: What a version is made from, the code in its bundle included.
MADE_FROM = ["src", "vendor", LOCK, PARAMS, "policy.yaml", "uv.lock", "pyproject.toml"]


def register(project: Project, log: Log = print) -> tuple[Version, bool]:
    """Seal the pipeline's bundle and register it; return the version, and whether it is new.

    A commit that differs in nothing that a bundle is made from, as when a job makes a candidate once more that nobody
    has merged yet, is the version that is there.

    Refused: a tree with changes, a shallow clone, outputs that are not what `dvc.lock` says,
    a failed gate, an untracked pipeline, a data remote that does not take the data.
    """
    git.require_clean(project.root, "register")
    git.require_whole_history(project.root)
    registry = Registry.open(project)
    for line in _lost(project, registry):
        log(line)
    with project.only_one("register"):
        log("checking that the outputs are those of the commit")
        _require_current(project)
        for card in (cards.MODEL_CARD, cards.DATA_CARD):
            if example := cards.of_the_example(project, card):
                log(f"warning: {card} still tells of the example's {example}, and this version is registered with it")
        require_passed(check_gates(project), "the model in this checkout")
        lineage = _lineage(project, registry)
        log("sending the data to its remote")
        dvc.push(project)
        if same := _same(project, registry, lineage):
            return same, False
        log("sealing the bundle and registering it")
        return _seal_and_register(project, registry, lineage)


def send(project: Project, version: Version) -> str:
    """Send the commit that made a version to origin, on a branch of its own, which never moves; return its name."""
    branch = _branch(version)
    there = git.fetched(project.root, branch)
    if there is None:
        git.push(project.root, keep(project, version))
    elif not git.is_ancestor(project.root, version.commit, there):
        raise MlopsError(
            f"origin has a branch {branch} of another model, so this registry has begun to count anew",
            f"connect the registry of before, or rename {branch} at origin, then run this again",
        )
    return branch


def keep(project: Project, version: Version) -> str:
    """Put the commit that made a version on a branch of its own here, so that Git keeps it; return its name."""
    branch = _branch(version)
    if not git.is_ancestor(project.root, version.commit, branch):
        here = git.is_ancestor(project.root, version.commit, "HEAD")
        git.git(project.root, "branch", "--force", branch, "HEAD" if here else version.commit)
    return branch


def _branch(version: Version) -> str:
    return f"candidate/v{version.number}"


def _lost(project: Project, registry: Registry) -> Iterator[str]:
    """Say which versions the environments name and this registry does not have: it may be another one, or emptied."""
    there = {version.number: version.digest for version in registry.versions()}
    for path in sorted(project.environments.glob("*.yaml")):
        named = read_settings(path, Environment).champion
        if named and there.get(named.version) != named.digest:
            yield (
                f"{path.stem} names version {named.version}, {named.digest[:19]}, which the registry "
                f"{shown(store_uri(project))} does not have: it was deleted there, or registered elsewhere; the next "
                f"version here is {max(there, default=0) + 1}"
            )


def commit_of(project: Project) -> str:
    """The commit of the version that would be registered now: the newest one that makes another bundle."""
    return git.at_last_change(project.root, MADE_FROM)


def _require_current(project: Project) -> None:
    stale = dvc.stale(project)
    if stale:
        raise MlopsError(
            f"the outputs in this checkout are not those of its code, parameters and data: {', '.join(stale)}",
            "commit what you have written, which hooks may format; mlops pipeline; commit dvc.lock and reports",
        )


def _same(project: Project, registry: Registry, lineage: Lineage) -> Version | None:
    """The newest version of another commit with the same content: only how long things took may differ."""
    made_from = [path for path in MADE_FROM if path not in (LOCK, PARAMS)]
    asked, here = _asked(project, lineage.commit), _locked(project, lineage.commit)
    for version in reversed(registry.versions()):
        if version.commit == lineage.commit:
            continue
        is_alike = git.is_alike(project.root, version.commit, lineage.commit, made_from)
        if is_alike and _asked(project, version.commit) == asked:
            return version if _locked(project, version.commit) == here else None
    return None


def _asked(project: Project, commit: str) -> Any:
    """What `params.yaml` of a commit asks of the pipeline."""
    params = yaml.safe_load(git.at_commit(project.root, commit, PARAMS) or "{}")
    return {name: value for name, value in params.items() if name not in ASIDE}


def _locked(project: Project, commit: str) -> Any:
    """What `dvc.lock` says of a commit's pipeline, without the report of what was measured: it differs each time."""
    lock = yaml.safe_load(git.at_commit(project.root, commit, LOCK) or "{}")
    for stage in lock.get("stages", {}).values():
        stage["outs"] = [out for out in stage.get("outs", []) if out["path"] != COST]
    return lock


def _lineage(project: Project, registry: Registry) -> Lineage:
    pipeline = pipeline_digest(project)
    run_id = find_run(project, registry.client, pipeline)
    if run_id is None:
        deleted = find_deleted_run(project, registry.client, pipeline)
        raise MlopsError(
            f"the run {deleted} that made the dvc.lock of this checkout was deleted"
            if deleted
            else "no tracked run made the dvc.lock of this checkout",
            "mlops pipeline (it records what `dvc repro` does not)",
        )
    lock = project.root / "uv.lock"
    lineage = Lineage(
        commit=commit_of(project),
        repository=git.git(project.root, "remote", "get-url", "origin", check=False).strip() or project.root.name,
        run_id=run_id,
        pipeline=pipeline,
        data=dvc.data_versions(project),
        lock=sha256(lock) if lock.is_file() else "",
        python=platform.python_version(),
        platform=platform.system() + " " + platform.machine(),
        snapshot=origins.taken(project),
    )
    if lineage.missing():
        raise MlopsError(
            f"lineage is incomplete: nothing is known of {', '.join(lineage.missing())}",
            "mlops audit, which says where the link is broken",
        )
    return lineage


def _seal_and_register(project: Project, registry: Registry, lineage: Lineage) -> tuple[Version, bool]:
    project.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project.state) as place:
        code, sealed = Path(place) / "code", Path(place) / "bundle"
        packaging.build(project, lineage.commit, code)
        readable.require_format(code, Bundle(project.bundle))
        return registry.register(seal(project.bundle, sealed, lineage, code).verify())
