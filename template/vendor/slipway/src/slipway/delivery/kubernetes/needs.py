"""What pods find in their namespace beside their image: Secrets that its owner makes, and a file of who may ask.

    Secret `log-key`, entry `log.key`      what hashes in the log are made with; never changed
    Secret `tls`, `tls.crt` and `tls.key`  the certificate by which pods speak HTTPS; a renewed one is taken up
    ConfigMap `model-admitted`             digests of tokens, and the issuer; each deployment writes it

Pods that a controller pulls are told by a variable who may ask, as nobody writes a ConfigMap for them.
"""

from __future__ import annotations

import shlex
from base64 import b64decode
from pathlib import Path
from typing import Any

from slipway.base import files
from slipway.base.errors import MlopsError
from slipway.delivery import environments
from slipway.delivery.kubernetes.cluster import Cluster
from slipway.delivery.target import Run
from slipway.delivery.variables import ADMITTED
from slipway.log import masks
from slipway.settings.access import Tls
from slipway.settings.environment import Environment
from slipway.settings.project import Project

KEY, TLS, GUARD = "log-key", "tls", "model-admitted"
#: Where pods find their certificate.
CERTIFICATE = Tls(certificate="/tls/tls.crt", key="/tls/tls.key")
HTTPS_PORT = 443

_KEY_FILE = "log.key"
#: What a Secret lists of a key: it is kept in base64.
_KEY_ENTRY = f"{_KEY_FILE}={-(-masks.KEY_BYTES // 3) * 4}"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
#: For the group of the pod alone.
_MODE = 0o440


def of_container(run: Run) -> dict[str, Any]:
    """What the container of a run has beside its variables: mounts, and probes by HTTPS."""
    mounts = [{"name": one["name"], "mountPath": path, "readOnly": True} for path, one in _mounted(run).items()]
    probes = {name: {"httpGet": {"scheme": "HTTPS"}} for name in _PROBES} if run.tls else {}
    return probes | ({"volumeMounts": mounts} if mounts else {})


def volumes(run: Run) -> list[dict[str, Any]]:
    """What the mounts of a run show."""
    return [*_mounted(run).values()]


def _mounted(run: Run) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if run.guarded or _hashes(run):
        found[f"/project/.mlops/keys/{run.environment}"] = _secret(KEY)
    if run.tls:
        found[str(Path(run.tls.certificate).parent)] = _secret(TLS)
    if run.guarded:
        # Where a controller pulls there is none, and a variable.
        found[str(ADMITTED.parent)] = {"name": GUARD, "configMap": {"name": GUARD, "optional": True}}
    return found


def _secret(name: str) -> dict[str, Any]:
    # As `secretName`, what looks for secrets in files would take the name for one.
    return {"name": name, "projected": {"defaultMode": _MODE, "sources": [{"secret": {"name": name}}]}}


def _hashes(run: Run) -> bool:
    return "hash" in run.privacy.values()


def config_map(project: Project, run: Run) -> dict[str, Any]:
    """The ConfigMap of who may ask, as this deployment says; for a run that asks nobody, what names it to remove it."""
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": GUARD}}
    if not run.guarded:
        return named
    said = (folder(project, run.environment) / ADMITTED.name).read_text("utf-8")
    return named | {"data": {ADMITTED.name: said}}


def folder(project: Project, environment: str) -> Path:
    """What this machine knows of an environment in a cluster; nothing in it is secret."""
    return project.state / "environments" / environment / "cluster"


def refuse_other_certificate(project: Project, environment: str, wanted: Environment) -> None:
    """Refuse a certificate that is not in the Secret of the namespace: pods have no other files."""
    if wanted.serve.tls not in (None, CERTIFICATE):
        raise MlopsError(
            f"pods have their certificate from the Secret {TLS}, and serve.tls in "
            f"{environments.relative(project, environment)} names another file",
            f"name certificate: {CERTIFICATE.certificate} and key: {CERTIFICATE.key} there",
        )


def require_secrets(project: Project, place: Cluster, run: Run, wanted: Environment) -> None:
    """Refuse a namespace without a Secret that pods of a run need, with the command that makes it.

    Where the key of the log is missing, it is the one of this machine; that is made where there is none.
    """
    is_guarded = wanted.access is not None and not wanted.access.anyone
    if wanted.serve.tls:
        how = f"tls {TLS} --cert=FULLCHAIN.pem --key=PRIVATE.pem"
        _require(place, TLS, ["tls.crt", "tls.key"], "the certificate that serve.tls names", how)
    if is_guarded or _hashes(run):
        path = masks.folder(project.state, run.environment) / _KEY_FILE
        if _lacks(place, KEY, [_KEY_ENTRY]):
            masks.make_key(project.state, run.environment)
        shown = path.relative_to(project.root) if path.is_relative_to(project.root) else path
        how = f"generic {KEY} --from-file={shlex.quote(str(shown))}"
        what = "the key with which the log hashes " + ("columns" if _hashes(run) else "who asks")
        _require(place, KEY, [_KEY_ENTRY], what, how)


def _require(place: Cluster, secret: str, entries: list[str], what: str, how: str) -> None:
    if not _lacks(place, secret, entries):
        return
    command = f"kubectl --namespace {place.namespace}"
    there = f"{command} delete secret {secret} && " if place.entries_of(secret) is not None else ""
    raise MlopsError(
        f"pods of {place.environment} need {what}, and the Secret {secret} of {place.namespace} does not hold it",
        f"{there}{command} create secret {how}",
    )


def _lacks(place: Cluster, secret: str, entries: list[str]) -> bool:
    """Whether a Secret has not all of these entries: names, or names with the length that their value must have."""
    found = place.entries_of(secret) or []
    known = {*found, *(one.partition("=")[0] for one in found)}
    return not known.issuperset(entries)


def certificate(project: Project, place: Cluster) -> Tls:
    """The certificate that pods show, in a file of this machine; their key stays where it is."""
    shown = b64decode(place.entry_of(TLS, "tls.crt"))
    path = folder(project, place.environment) / "tls.crt"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, shown, mode=0o644)
    return Tls(certificate=str(path), key="")
