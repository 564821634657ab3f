"""Which services this project reaches from here, and what to do about those it does not.

A fresh project has none, and its workflows are green all the same: each says what it left out, and why.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from slipway.data import dvc, remotes
from slipway.delivery import environments
from slipway.delivery.docker import engine_problem, missing_login
from slipway.registry import signing
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
    """Look at each service that the workflows need; nothing is asked over a network."""
    found = [_data(project), _registry(project), _signatures(), _machine(project), *_environments(project)]
    return [*found, _engine(), _images(project)] if project.tool.image else found


def as_markdown(found: list[Connection]) -> str:
    """A table for the page of a run."""
    rows = [f"| {one.name} | {'yes' if one.there else 'not yet'} | {one.how} |" for one in found]
    return "\n".join(["| connection | there | how |", "|---|---|---|", *rows])


def _in_job() -> bool:
    return bool(os.environ.get("CI"))


def _data(project: Project) -> Connection:
    folder = dvc.local_folder(project.root)
    if folder is not None:
        there = folder.is_dir()
        return Connection("data", there, f"the folder {folder}" if there else _for_job("a remote that jobs reach"))
    url = dvc.url_of(project.root)
    if not url:
        return Connection("data", there=False, how=_for_job("a remote in .dvc/config"))
    kind = remotes.of(url)
    named = kind.credentials + kind.roles if kind else ()
    # On a laptop a client finds its own files; a kind that is not in the table is DVC's business alone.
    there = any(os.environ.get(name) for name in named) or not named or not _in_job()
    return Connection("data", there, "the bucket in .dvc/config" if there else _for_job("credentials for the bucket"))


def _registry(project: Project) -> Connection:
    uri = store_uri(project)
    lost = uri.startswith("sqlite:") and _in_job()
    return Connection("registry", not lost, _for_job("the variable MLFLOW_TRACKING_URI") if lost else shown(uri))


def _signatures() -> Connection:
    key = signing.key()
    return Connection("signatures", key is not None, key or _for_job("a key, or the permission id-token: write"))


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
