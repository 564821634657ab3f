"""What a project has for a cluster is what every supported Kubernetes understands, and is small enough to be read."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from parts import part

#: The six newest.
VERSIONS = [f"1.{minor}" for minor in range(32, 38)]
KINDS = {"Deployment", "NetworkPolicy", "Service"}
SCALING = {"HorizontalPodAutoscaler", "PodDisruptionBudget"}


def objects(root: Path, environment: str) -> list[dict[str, Any]]:
    """What Kustomize makes of an overlay."""
    overlay = root / "deploy" / "kubernetes" / "overlays" / environment
    done = subprocess.run([part("kubectl"), "kustomize", overlay], check=True, capture_output=True)
    return list(yaml.safe_load_all(done.stdout))


def complaints(found: list[dict[str, Any]], version: str) -> list[str]:
    """What the published schemas of a version of Kubernetes say against these objects."""
    said = []
    for one in found:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            said.append(error.message)
    return said


@pytest.fixture(scope="module")
def project(render: Callable[..., Path]) -> Path:
    return render(target="kubernetes")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_supported_version_understands_every_object(project: Path, version: str) -> None:
    staging, production = objects(project, "staging"), objects(project, "production")

    assert complaints(staging + production, version) == []
    assert {one["kind"] for one in staging} == KINDS
    assert {one["kind"] for one in production} == KINDS | SCALING


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slip_is_seen(project: Path, version: str) -> None:
    """The twin: were nothing read strictly, the test above would find nothing."""
    (deployment,) = (one for one in objects(project, "staging") if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    deployment["spec"]["progressDeadlineSeconds"] = "five minutes"

    assert complaints([deployment], version)


def test_both_environments_differ_by_their_names_and_by_what_scales(project: Path) -> None:
    def without_place(environment: str) -> list[dict[str, Any]]:
        found = [one for one in objects(project, environment) if one["kind"] in KINDS]
        assert {one["metadata"].pop("namespace") for one in found} == {f"flight-delays-{environment}"}
        return found

    assert without_place("staging") == without_place("production")


def test_manifests_are_small_enough_to_be_read(project: Path) -> None:
    folder = project / "deploy" / "kubernetes"
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in folder.rglob("*") if path.is_file())

    assert lines <= 250
    assert all(len(list(overlay.iterdir())) <= 2 for overlay in (folder / "overlays").iterdir())


def test_only_a_project_that_asks_for_a_cluster_has_anything_for_one(render: Callable[..., Path]) -> None:
    for answers in ({}, {"target": "compose"}, {"size": "small"}):
        root = render(**answers)
        named = [path for path in root.rglob("*") if path.is_file() and "vendor" not in path.parts]
        texts = {str(path.relative_to(root)): path.read_bytes().lower() for path in named if path.suffix != ".gz"}

        assert [name for name in texts if "kubernetes" in name] == []
        assert b"slipway-mlops[bucket]" not in texts["pyproject.toml"]
