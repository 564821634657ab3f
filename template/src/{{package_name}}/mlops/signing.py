"""Signatures on bundles, made and checked by cosign.

What is signed is the bundle's `SHA256SUMS`, and with it every file of the bundle. In a workflow
the signer is the workflow itself (`id-token: write`), elsewhere a key pair: `COSIGN_KEY` names the
private key, `deploy/cosign.pub` is the public one. The signature lies beside the bundle in the registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .bundle import SUMS, Bundle
from .errors import MlopsError
from .project import Project, Release, SignaturePolicy
from .registry import Registry, Version

FILE = "signature.json"
PUBLIC_KEY = "deploy/cosign.pub"


def key() -> str | None:
    """Who would sign here: a key, the workflow, or nobody."""
    if not shutil.which("cosign"):
        return None
    if os.environ.get("COSIGN_KEY"):
        return "the key in COSIGN_KEY"
    return "this workflow's identity" if os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") else None


def sign(project: Project, reference: str) -> tuple[Version, str]:
    """Sign a registered version; returns it, and who signed."""
    signer = key()
    if signer is None:
        raise MlopsError(
            "nobody is here to sign: no cosign on PATH, or neither COSIGN_KEY nor a workflow's identity",
            "install cosign and set COSIGN_KEY, or run this in a job with id-token: write",
        )
    registry = Registry.open(project)
    version = registry.find(reference)
    bundle = registry.fetch(version)
    with tempfile.TemporaryDirectory() as folder:
        signature = Path(folder) / FILE
        private = os.environ.get("COSIGN_KEY")
        # A key of one's own is checked by its other half, so nothing of it goes to the public log.
        how = ["--key", private, "--tlog-upload=false"] if private else []
        _cosign("sign-blob", "--yes", *how, "--bundle", str(signature), str(bundle.path / SUMS))
        registry.attach(version, signature)
    return version, signer


def verify(project: Project, release: Release, bundle: Bundle) -> None:
    """Refuse a bundle that was not signed by whom `policy.yaml` names."""
    wanted = project.policy.signature
    if wanted is None:
        return
    # Kept on this machine, so that a rollback needs no registry. It is checked each time.
    folder = project.state / "signatures" / release.digest.removeprefix("sha256:")
    signature: Path | None = folder / FILE if (folder / FILE).is_file() else None
    if signature is None:
        folder.mkdir(parents=True, exist_ok=True)
        registry = Registry.open(project)
        signature = registry.attached(registry.find(str(release.version)), FILE, folder)
    if signature is None:
        raise MlopsError(
            f"version {release.version} is not signed, and policy.yaml asks for a signature",
            f"mlops sign {release.version}",
        )
    _cosign("verify-blob", *_expected(project, wanted), "--bundle", str(signature), str(bundle.path / SUMS))


def _expected(project: Project, wanted: SignaturePolicy) -> list[str]:
    if wanted.identity is not None:
        return ["--certificate-identity", wanted.identity, "--certificate-oidc-issuer", wanted.issuer]
    public = project.root / PUBLIC_KEY
    if not public.is_file():
        raise MlopsError(f"policy.yaml asks for a signature, but there is no {PUBLIC_KEY}", "put the public key there")
    return ["--key", str(public), "--insecure-ignore-tlog"]


def _cosign(*arguments: str) -> None:
    try:
        done = subprocess.run(["cosign", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        raise MlopsError("cosign is not installed", "install it: https://docs.sigstore.dev/cosign") from None
    if done.returncode:
        what = "signature does not fit" if arguments[0].startswith("verify") else "bundle could not be signed"
        lines = [line for line in done.stderr.splitlines() if line.startswith("Error")] or done.stderr.splitlines()
        raise MlopsError(f"the {what}: {lines[-1] if lines else 'no reason given'}", "deploy what your workflow signed")
