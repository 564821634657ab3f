"""Which services this project reaches from here, and what to do about those it does not.

A fresh project has none, and its workflows are green all the same: each says what it left out, and why.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.data import place, rights
from slipway.delivery import environments
from slipway.delivery.docker import engine_problem, missing_login
from slipway.registry import cosign, signing
from slipway.settings.project import Project
from slipway.training.tracking import shown, store_uri

GUIDE = "docs/ci.md"


@dataclass(frozen=True)
class Connection:
    """A service, whether this process can use it, and how it is or would be reached."""

    name: str
    there: bool
    how: str


def connections(project: Project) -> list[Connection]:
    """Look at each service that the workflows need. Only the data remote is asked over a network, some ten seconds."""
    found = [_data(project), _registry(project), _signatures(), _machine(project), *_environments(project)]
    return [*found, _engine(), _images(project)] if project.tool.image else found


def fetches_cosign(project: Project) -> bool:
    """Whether a job has to bring cosign here: the policy demands signatures, and none that can be trusted is there."""
    return project.policy.signature is not None and bool(cosign.problem())


def warnings() -> list[str]:
    """What is dangerous about the machine on which this job runs."""
    event = Path(os.environ.get("GITHUB_EVENT_PATH") or os.devnull).read_text("utf-8") or "{}"
    is_public = json.loads(event).get("repository", {}).get("private") is False
    if os.environ.get("RUNNER_ENVIRONMENT") != "self-hosted" or not is_public:
        return []
    return [f"This repository is public, and this machine runs its jobs: whoever proposes a change may try to run code "
            f"here. See what to set, {GUIDE}."]  # fmt: skip


def as_markdown(found: list[Connection]) -> str:
    """A table for the page of a run."""
    rows = [f"| {one.name} | {'yes' if one.there else 'not yet'} | {one.how} |" for one in found]
    return "\n".join(["| connection | there | how |", "|---|---|---|", *rows])


def _in_job() -> bool:
    return bool(os.environ.get("CI"))


def _data(project: Project) -> Connection:
    remote = place.reach(project.root)
    if not remote.there or place.local_folder(project.root):
        return Connection("data", remote.there, remote.how if remote.there else _for_job(remote.how))
    try:
        found = rights.ask(project)
    except MlopsError as problem:
        return Connection("data", there=False, how=f"{problem.problem}; {problem.next_step}")
    # A job that trains sends what it made; a person may be one who only reads.
    needed = "write" if _in_job() else "read"
    there = needed in found.has or not (found.has or found.missing)
    how = f"{found.url}, to {' and '.join(found.has)}" if found.has else found.url
    if not there and not found.missing:
        how += ", and a job has to write"
    return Connection("data", there, f"{found.sentence()}, see {GUIDE}" if found.missing else how)


def _registry(project: Project) -> Connection:
    uri = store_uri(project)
    lost = uri.startswith("sqlite:") and _in_job()
    return Connection("registry", not lost, _for_job("the variable MLFLOW_TRACKING_URI") if lost else shown(uri))


def _signatures() -> Connection:
    key = signing.key()
    return Connection(
        "signatures", key is not None, key or _for_job("cosign, and a key or the permission id-token: write")
    )


def _machine(project: Project) -> Connection:
    """Whether what is deployed from here goes on running: a runner that the forge lends goes with its job."""
    is_lent = os.environ.get("RUNNER_ENVIRONMENT") == "github-hosted"
    lost = _in_job() and (is_lent or not os.environ.get("MLOPS_STATE"))
    how = _for_job("the variables DEPLOY_RUNNER and MLOPS_STATE") if lost else str(project.state)
    return Connection("machine", not lost, how)


def _images(project: Project) -> Connection:
    """Whether images can be made and pushed: an engine's client is here, with a login for their registry."""
    missing = missing_login(project) if shutil.which("docker") else "Docker"
    return Connection("images", not missing, _for_job(missing) if missing else project.tool.image)


def _environments(project: Project) -> list[Connection]:
    found = []
    for name in environments.names(project):
        release = environments.load(project, name).champion
        how = f"version {release.version}" if release else f"names no champion yet: mlops promote {name}"
        found.append(Connection(name, release is not None, how))
    return found


def _engine() -> Connection:
    """Whether a container engine answers, so that a job can log in to a registry of images; processes need none."""
    if engine_problem():
        return Connection("engine", there=False, how=_for_job("Docker, for containers alone"))
    return Connection("engine", there=True, how=str(shutil.which("docker")))


def _for_job(what: str) -> str:
    return f"needs {what}, see {GUIDE}"
