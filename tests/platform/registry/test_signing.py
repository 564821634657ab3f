"""Signatures: what either major of cosign has signed is read, and what cannot be trusted is refused by name."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from parts import TOOLS, needs
from slipway.base.errors import MlopsError
from slipway.base.files import write_json
from slipway.base.programs import Done
from slipway.registry import cosign, signing
from slipway.settings.environment import Release
from slipway.settings.project import Project
from slipway.training.bundle import SUMS, Bundle

IMAGE = "registry.example.com/flights@sha256:" + "a" * 64
#: cosign 2.5, which is too old, and 3. Debian's builds tell no version.
OLD, NEW = (TOOLS / name for name in ("cosign-2", "cosign-3"))
PUBLIC, PRIVATE = "deploy/cosign.pub", "cosign.key"
OFFLINE = ("--yes", "--key", PRIVATE, "--tlog-upload=false")
#: How each major writes each form of a bundle.
FORMS = {
    "2, old": (OLD, ()),
    "2, new": (OLD, ("--new-bundle-format",)),
    "3, old": (NEW, ("--use-signing-config=false", "--new-bundle-format=false")),
    "3, new": (NEW, ("--use-signing-config=false",)),
}


def run(place: Path, folder: Path, *arguments: str) -> None:
    subprocess.run([place / "cosign", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def demanding(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that deploys nothing that its own key has not signed."""
    needs("cosign")
    monkeypatch.setenv("COSIGN_PASSWORD", "a-password")
    monkeypatch.setenv("PATH", str(NEW), prepend=os.pathsep)
    (project.root / "deploy").mkdir()
    run(NEW, project.root, "generate-key-pair")
    (project.root / "cosign.pub").rename(project.root / PUBLIC)
    with (project.root / "policy.yaml").open("a", encoding="utf-8") as policy:
        policy.write("\nsignature: {}\n")
    return Project(project.root)


@pytest.fixture
def release(sealed: Bundle) -> Release:
    return Release(version=1, digest=sealed.digest, commit=sealed.lineage.commit, image=IMAGE)


@pytest.fixture
def sign(demanding: Project, sealed: Bundle, release: Release) -> Callable[[str], Path]:
    """Sign the bundle as somebody else's cosign would; returns the file that a machine keeps of it."""

    def signed(form: str) -> Path:
        place, options = FORMS[form]
        kept = demanding.state / "signatures" / release.digest.removeprefix("sha256:") / signing.FILE
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(demanding.root / "statement.json", signing.provenance(sealed, IMAGE))
        what = ("--type", "slsaprovenance1", "--predicate", "statement.json", "--bundle", str(kept))
        run(place, demanding.root, "attest-blob", *OFFLINE, *options, *what, str(sealed.path / SUMS))
        return kept

    return signed


@pytest.mark.parametrize("form", FORMS)
def test_what_either_major_has_signed_is_taken_without_a_network_and_a_changed_bundle_is_not(
    form: str, demanding: Project, sealed: Bundle, release: Release, sign: Callable[[str], Path]
) -> None:
    sign(form)
    signing.verify(demanding, release, sealed)

    with (sealed.path / SUMS).open("a", encoding="utf-8") as sums:
        sums.write("0000  another\n")

    with pytest.raises(MlopsError, match=r"the signature does not fit: Error: .*digest"):
        signing.verify(demanding, release, sealed)


def test_what_is_signed_here_can_be_checked_by_the_second_major(
    demanding: Project, sealed: Bundle, release: Release, sign: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sign("3, old")
    asked: list[tuple[str, ...]] = []
    real = cosign.run

    def listen(*words: str) -> Done:
        asked.append(words)
        return real(*words)

    monkeypatch.setattr(cosign, "run", listen)
    signing.verify(demanding, release, sealed)

    run(OLD, demanding.root, *asked[0])

    assert str(kept) in asked[0]


@pytest.mark.parametrize("content", ["", "{}", '{"base64Signature": "?"}', '{"dsseEnvelope": {"payload": ""}}'])
def test_a_signature_that_cannot_be_read_is_named(
    content: str, demanding: Project, sealed: Bundle, release: Release, sign: Callable[[str], Path]
) -> None:
    kept = sign("3, new")
    kept.write_text(content, encoding="utf-8")

    with pytest.raises(MlopsError, match=r"provenance\.json cannot be read") as refused:
        signing.verify(demanding, release, sealed)

    assert refused.value.next_step.startswith("delete that file")


def teller(folder: Path, version: str) -> Path:
    """A program that knows its version and nothing else."""
    told = json.dumps({"gitVersion": version})
    folder.mkdir(exist_ok=True)
    (folder / "cosign").write_text(f"#!/bin/sh\necho '{told}'\n", encoding="utf-8")
    (folder / "cosign").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("version", "is_new"),
    [
        *(("v1.13.1", False), ("v2.5.0", False), ("v2.6.1", False), ("v2.6.2", True), ("v2.10.0", True)),
        *(("v3.0.3", False), ("v3.0.4", True), ("3.1.1", True), ("v4.0.0", True)),
    ],
)
def test_a_version_that_takes_false_signatures_for_good_is_refused(
    version: str, is_new: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(teller(tmp_path / version, version)))
    monkeypatch.setenv("HOME", str(tmp_path))

    assert (cosign.problem() == "") == is_new
    if not is_new:
        with pytest.raises(MlopsError, match=f"cosign {version} at .* is too old") as refused:
            cosign.run("version")
        assert "3.0.4 or newer, or 2.6.2 or newer" in refused.value.next_step


def test_a_build_that_tells_no_version_is_known_by_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("cosign")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(OLD))
    assert "cosign devel at " in cosign.problem()

    monkeypatch.setenv("PATH", str(NEW))
    assert cosign.problem() == ""


def test_one_that_an_earlier_job_has_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system's own is too old."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cosign.problem() == "cosign is not installed"

    monkeypatch.setenv("PATH", str(teller(tmp_path / "system", "v2.5.0")))
    teller(tmp_path / ".cosign", "v3.0.6")
    assert cosign.problem() == ""
