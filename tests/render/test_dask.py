"""What Dask's operator makes a cluster of is what its published schema knows, and lets nobody else in."""

import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import pytest
import yaml
from parts import part
from rendering import ROOT

#: In its wheel is the definition of its resource; what it needs to run is not looked at.
OPERATOR = "dask-kubernetes==2026.3.0"
DEFINITION = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
PAGE = ROOT / "template" / "vendor" / "slipway" / "docs" / "engines.md"
DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the operator publishes of a DaskCluster; a name that it does not know is none."""
    folder = tmp_path_factory.mktemp("operator")
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), OPERATOR]
    subprocess.run(command, check=True, timeout=300)
    (version,) = yaml.safe_load((folder / DEFINITION).read_text("utf-8"))["spec"]["versions"]
    found: dict[str, Any] = closed(version["schema"]["openAPIV3Schema"])
    del found["additionalProperties"]  # apiVersion, kind and metadata are those of every object
    return found


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema in which no object has other names than those that stand there."""
    inside = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(inside.get(key), dict):
            inside[key] = closed(inside[key])
    if "properties" in inside:
        inside["properties"] = {name: closed(one) for name, one in inside["properties"].items()}
        inside.setdefault("additionalProperties", inside.get("x-kubernetes-preserve-unknown-fields", False))
    return inside


@pytest.fixture(scope="module")
def objects(render: Callable[..., Path]) -> dict[str, dict[str, Any]]:
    """What Kustomize makes of the overlay on the page, by kind."""
    project = render(target="kubernetes")
    folder = project / "deploy" / "kubernetes" / "engine"
    folder.mkdir()
    (overlay,) = re.findall(r"^```yaml\n(namespace: .*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    (folder / "kustomization.yaml").write_text(overlay.replace("sha256:…", DIGEST), encoding="utf-8")
    done = subprocess.run([part("kubectl"), "kustomize", folder], check=True, capture_output=True)
    return {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster["spec"][one]["spec"] for one in ("scheduler", "worker")]


def test_the_operator_and_kubernetes_understand_every_field(
    objects: dict[str, dict[str, Any]], schema: dict[str, Any]
) -> None:
    cluster, policy = objects["DaskCluster"], objects["NetworkPolicy"]

    jsonschema.validate(cluster, schema)
    kubernetes_validate.validate(policy, "1.34", strict=True)
    for spec in pods(cluster):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.34", strict=True)
    assert objects.keys() == {"DaskCluster", "NetworkPolicy"}
    assert {one["metadata"]["namespace"] for one in objects.values()} == {"engine"}


@pytest.mark.parametrize(("at", "slip"), [("worker", {"replica": 2}), ("worker", {"replicas": "two"})])
def test_a_slip_is_seen(
    objects: dict[str, dict[str, Any]], schema: dict[str, Any], at: str, slip: dict[str, Any]
) -> None:
    cluster = deepcopy(objects["DaskCluster"])
    cluster["spec"][at] |= slip

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, schema)


def test_pods_run_the_image_by_its_digest_with_no_right_and_no_place_to_write(
    objects: dict[str, dict[str, Any]],
) -> None:
    for spec in pods(objects["DaskCluster"]):
        (container,) = spec["containers"]
        assert container["image"] == f"registry.example/models/train@{DIGEST}"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_the_policy_and_the_service_are_about_the_pods_of_the_cluster(objects: dict[str, dict[str, Any]]) -> None:
    """The operator labels each pod with the name of its cluster, and with what it is."""
    cluster, policy = objects["DaskCluster"], objects["NetworkPolicy"]["spec"]
    own = {"dask.org/cluster-name": cluster["metadata"]["name"]}

    assert cluster["spec"]["scheduler"]["service"]["selector"] == own | {"dask.org/component": "scheduler"}
    assert policy["podSelector"] == {"matchLabels": own}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] for rule in policy["ingress"])
    others = [rule for rule in policy["egress"] if rule.get("to") != [{"podSelector": {"matchLabels": own}}]]
    assert [{port["port"] for port in rule["ports"]} for rule in others] == [{53}]
