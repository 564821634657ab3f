"""Labels that are posted to an environment's server: what its file asks for, checked before and after a deployment."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import msgspec

from slipway.base import http
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.delivery import environments, target
from slipway.delivery.access import Admission
from slipway.delivery.target import Run
from slipway.registry import packaging
from slipway.settings.environment import Environment, Release
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

PATH = "/labels"


def taking(
    project: Project, wanted: Environment, run: Run, release: Release, bundle: Bundle, going_back: Log | None = None
) -> Run:
    """The run with the form of labels, where its environment's file says `serve.labels`; refused where none would be
    taken.

    Whoever is `going_back` to a version that takes none is told so, as what must not wait is the answers.
    """
    if not wanted.serve.labels:
        return run
    if project.policy.labels is None:
        raise MlopsError(
            f"{environments.relative(project, run.environment)} has serve.labels, and policy.yaml does not say how a "
            "label finds its prediction",
            "mlops policy add labels, see vendor/slipway/docs/challenger.md",
        )
    if not packaging.serves_with(packaging.code_of(project, bundle, run.platform), "label_route"):
        older = f"the code of version {release.version} is older than serve.labels and takes none"
        if going_back:
            going_back(f"{older}: who posts labels gets 404 until another version answers")
            return run
        raise MlopsError(
            older,
            f"mlops promote {environments.FIRST} --version {release.version} --this-platform serves it with this one"
            if not target.of(project, wanted).needs_image
            else "register the version once more, then: mlops build --push",
        )
    from slipway.data import labels  # it brings polars, which nothing else of a deployment needs

    return msgspec.structs.replace(run, labels=labels.form_of(project))


def require_taken(run: Run, admission: Admission, log: str) -> None:
    """Refuse a server that knows of no labels, where it was told to take some."""
    if run.labels is None:
        return
    certificate = Path(run.tls.certificate) if run.tls else None
    headers = {"Mlops-Probe": "1", **admission.headers}
    answer = http.ask(run.host, run.port, PATH, body=b"[]", headers=headers, certificate=certificate, timeout_s=10)
    if answer.status != HTTPStatus.UNPROCESSABLE_ENTITY:
        raise MlopsError(
            f"the deployed server takes no labels: {answer.status} {answer.text[:200]}",
            f"read its log: {log}; a file of deploy/ may be older than the platform: mlops template update",
        )
