"""Signed provenance: who made a version, from which commit, lock and data. cosign signs and checks it.

The statement is SLSA's provenance, version 1, about the bundle's `SHA256SUMS`, and with it about every file of the
bundle. It names the version's image, too, so one signature holds for both and is checked without asking a registry of
images. In a workflow the signer is the workflow itself (`id-token: write`), elsewhere a key pair: `COSIGN_KEY` names
the private key, `deploy/cosign.pub` is the public one.

Source: https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.registry import cosign
from slipway.registry.models import Registry, Version
from slipway.settings.environment import Release
from slipway.settings.policy import SignaturePolicy
from slipway.settings.project import Project
from slipway.training.bundle import SUMS, Bundle

FILE = "provenance.json"
PUBLIC_KEY = "deploy/cosign.pub"
#: What a version's image is made of, put beside its bundle by whoever built it.
IMAGE_MATERIALS = "image-sbom.json"
_KIND = ("--type", "slsaprovenance1")


def key() -> str | None:
    """Who would sign here: a key, the workflow, or nobody."""
    if cosign.problem():
        return None
    if os.environ.get("COSIGN_KEY"):
        return "the key in COSIGN_KEY"
    return "this workflow's identity" if os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") else None


def sign(project: Project, reference: str) -> tuple[Version, str]:
    """Sign where a registered version comes from; returns it, and who signed."""
    signer = key()
    if signer is None:
        why = cosign.problem()
        raise MlopsError(
            f"nobody is here to sign: {why or 'there is neither COSIGN_KEY nor a workflow with an identity'}",
            cosign.INSTALL if why else "set COSIGN_KEY, or run this in a job with id-token: write",
        )
    registry = Registry.open(project)
    version = registry.find(reference)
    bundle = registry.fetch(version)
    private = os.environ.get("COSIGN_KEY")
    # A key of one's own is checked by its other half, so nothing of it goes to the public log; and the older form of a
    # bundle is checked so by both majors, without a network.
    alone = ("--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false")
    how = ["--yes", *(["--key", private, *alone] if private else [])]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        statement = folder / "statement.json"
        write_json(statement, provenance(bundle, version.image))
        what = [*how, *_KIND, "--predicate", str(statement)]
        _cosign("attest-blob", *what, "--bundle", str(folder / FILE), str(bundle.path / SUMS))
        registry.attach(version, folder / FILE)
        if version.image:
            _cosign("attest", *what, version.image)
            materials = registry.attached(version, IMAGE_MATERIALS, folder) or bundle.path / "sbom.json"
            _cosign("attest", *how, "--type", "cyclonedx", "--predicate", str(materials), version.image)
    return version, signer


def provenance(bundle: Bundle, image: str = "") -> dict[str, Any]:
    """What is signed: the source and everything it depended on, who built, and the image that holds the same code."""
    made = bundle.lineage
    repository = made.repository.removesuffix(".git")
    source = {"uri": f"git+{repository}@{made.commit}", "digest": {"gitCommit": made.commit}}
    data = [{"uri": f"dvc:{one.path}", "digest": {"md5": one.md5.removesuffix(".dir")}} for one in made.data]
    name, _, digest = image.partition("@sha256:")
    return {
        "buildDefinition": {
            "buildType": "urn:mlops:register:1",
            "externalParameters": {"repository": repository, "commit": made.commit},
            "internalParameters": {"run": made.run_id, "python": made.python, "platform": made.platform},
            "resolvedDependencies": [source, {"uri": "uv.lock", "digest": {"sha256": made.lock}}, *data],
        },
        "runDetails": {
            **_builder(),
            "byproducts": [{"uri": f"docker://{name}", "digest": {"sha256": digest}}] if image else [],
        },
    }


def _builder() -> dict[str, Any]:
    """The workflow and its run, or that a person did it."""
    job = os.environ
    if not job.get("GITHUB_WORKFLOW_REF"):
        return {"builder": {"id": "urn:mlops:by-hand"}, "metadata": {}}
    run = f"{job['GITHUB_SERVER_URL']}/{job['GITHUB_REPOSITORY']}/actions/runs/{job['GITHUB_RUN_ID']}"
    workflow = f"{job['GITHUB_SERVER_URL']}/{job['GITHUB_WORKFLOW_REF']}"
    return {"builder": {"id": workflow}, "metadata": {"invocationId": run}}


def verify(project: Project, release: Release, bundle: Bundle) -> None:
    """Refuse a bundle or an image that was not signed by whom `policy.yaml` names."""
    wanted = project.policy.signature
    if wanted is None:
        return
    # Kept on this machine, so that a rollback needs no registry. It is checked each time.
    kept = project.state / "signatures" / release.digest.removeprefix("sha256:") / FILE
    if not kept.is_file() or not _names(kept, release.image):
        _fetch(project, release, kept.parent)
    what = [*_expected(project, wanted), *_KIND, *(["--new-bundle-format"] if _is_new(_read(kept)) else [])]
    _cosign("verify-blob-attestation", *what, "--bundle", str(kept), str(bundle.path / SUMS))
    if not _names(kept, release.image):
        raise MlopsError(
            f"the signature of version {release.version} does not name the image {release.image}",
            f"mlops sign {release.version}, after looking who built that image",
        )


def _fetch(project: Project, release: Release, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry.open(project)
    if registry.attached(registry.find(str(release.version)), FILE, folder) is None:
        raise MlopsError(
            f"version {release.version} is not signed, and policy.yaml asks for a signature",
            f"mlops sign {release.version}",
        )


def _names(signed: Path, image: str | None) -> bool:
    """Whether a signed statement is about this image, too; what it says is true only if its signature is."""
    if image is None:
        return True
    held = _read(signed)
    try:
        envelope = held["dsseEnvelope"] if _is_new(held) else json.loads(base64.b64decode(held["base64Signature"]))
        products = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["runDetails"]["byproducts"]
    except (ValueError, KeyError, TypeError):
        raise _unreadable(signed) from None
    return image.rpartition("@sha256:")[2] in [one["digest"]["sha256"] for one in products]


def _read(signed: Path) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(signed.read_bytes())
    except ValueError:
        raise _unreadable(signed) from None
    return held


def _is_new(held: dict[str, Any]) -> bool:
    """Whether a bundle has the form that cosign writes since its third major."""
    return "dsseEnvelope" in held


def _unreadable(signed: Path) -> MlopsError:
    return MlopsError(
        f"the signature in {signed} cannot be read",
        "delete that file, so that it is fetched again; if it comes back as it was: mlops sign VERSION",
    )


def _expected(project: Project, wanted: SignaturePolicy) -> list[str]:
    if wanted.identity is not None:
        return ["--certificate-identity", wanted.identity, "--certificate-oidc-issuer", wanted.issuer]
    public = project.root / PUBLIC_KEY
    if not public.is_file():
        raise MlopsError(f"policy.yaml asks for a signature, but there is no {PUBLIC_KEY}", "put the public key there")
    return ["--key", str(public), "--insecure-ignore-tlog"]


def _cosign(*arguments: str) -> None:
    done = cosign.run(*arguments)
    if not done.code:
        return
    lines = [line for line in done.errors.splitlines() if line.startswith("Error")] or done.errors.splitlines()
    reason = lines[-1] if lines else "no reason given"
    if not arguments[0].startswith("verify"):
        raise MlopsError(f"the version could not be signed: {reason}", "mend this, then run: mlops sign")
    if "dial tcp" in reason or "tuf" in reason:
        raise MlopsError(
            f"the signature could not be checked, as Sigstore's public keys could not be fetched: {reason}",
            "let this machine reach Sigstore, or sign with a key of your own, which needs no network: docs/ci.md",
        )
    raise MlopsError(f"the signature does not fit: {reason}", "deploy what your workflow signed")
