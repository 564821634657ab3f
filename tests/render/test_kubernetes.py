"""What a project has for a cluster is what every supported Kubernetes understands, and is small enough to be read."""

import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jobs import with_jobs
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


@pytest.fixture(scope="module")
def with_all(render: Callable[..., Path]) -> list[dict[str, Any]]:
    """What staging has whose overlay names the Jobs as the page says, and another time for one of them."""
    root, digest = render(target="kubernetes"), f"sha256:{'1' * 64}"
    with_jobs(root / "deploy/kubernetes/overlays/staging", **{"sha256:...": digest, "41 5 * * *": "3 2 * * *"})
    return objects(root, "staging")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_supported_version_understands_the_jobs(with_all: list[dict[str, Any]], version: str) -> None:
    slip = deepcopy(next(one for one in with_all if one["kind"] == "CronJob"))
    slip["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicie"] = "Never"

    assert complaints(with_all, version) == []
    assert complaints([slip], version)
    assert {one["kind"] for one in with_all} == KINDS | {"ConfigMap", "CronJob"}


def test_a_job_is_confined_as_the_pods_that_answer_are(with_all: list[dict[str, Any]]) -> None:
    (deployment,) = (one for one in with_all if one["kind"] == "Deployment")
    answering = deployment["spec"]["template"]["spec"]
    crons = {one["metadata"]["name"]: one["spec"] for one in with_all if one["kind"] == "CronJob"}

    assert crons.keys() == {"batch", "monitor", "train"}
    assert crons["monitor"]["schedule"] == "3 2 * * *"
    assert [crons[name].get("suspend", False) for name in ("batch", "monitor", "train")] == [True, False, True]
    for cron in crons.values():
        job = cron["jobTemplate"]["spec"]
        pod = job["template"]["spec"]
        containers = pod["initContainers"] + pod["containers"]
        assert (cron["concurrencyPolicy"], job["backoffLimit"], pod["restartPolicy"]) == ("Forbid", 0, "Never")
        assert job["activeDeadlineSeconds"]
        for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
            assert pod[name] == answering[name]
        for container in containers:
            assert container["securityContext"] == answering["containers"][0]["securityContext"]
            assert container["resources"].keys() == {"requests", "limits"}
            assert container["image"].endswith(f"@sha256:{'1' * 64}")


def test_each_job_is_let_out_by_a_policy_of_its_own(with_all: list[dict[str, Any]]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in with_all if one["kind"] == "NetworkPolicy"}
    crons = [one for one in with_all if one["kind"] == "CronJob"]

    for cron in crons:
        labels = cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        policy = policies[cron["metadata"]["name"]]
        assert policy["podSelector"]["matchLabels"] == labels
        assert "ingress" not in policy
        assert 443 in [port["port"] for port in policy["egress"][0]["ports"]]


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
