"""What operators make clusters of engines of is what their published schemas know, and lets nobody else in."""

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
DASK = "dask-kubernetes==2026.3.0"
DEFINITION = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
KUBERAY = Path(__file__).with_name("kuberay.yaml")
PAGE = ROOT / "template" / "vendor" / "slipway" / "docs" / "engines.md"
DIGEST = f"sha256:{'0' * 64}"
KINDS = ("DaskCluster", "RayJob")

Objects = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """What each operator publishes of the `spec` of its resource; a name that it does not know is none."""
    folder = tmp_path_factory.mktemp("operator")
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), DASK]
    subprocess.run(command, check=True, timeout=300)
    (version,) = yaml.safe_load((folder / DEFINITION).read_text("utf-8"))["spec"]["versions"]
    dask = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return {"DaskCluster": closed(dask), "RayJob": closed(yaml.safe_load(KUBERAY.read_text("utf-8")))}


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
def made(render: Callable[..., Path]) -> dict[str, Objects]:
    """What Kustomize makes of each overlay on the page, by kind, by the kind of the resource."""
    project, found = render(target="kubernetes"), dict[str, Objects]()
    folder = project / "deploy" / "kubernetes" / "engine"
    folder.mkdir()
    overlays = re.findall(r"^```yaml\n(namespace: .*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for kind, overlay in zip(KINDS, overlays, strict=True):
        (folder / "kustomization.yaml").write_text(overlay.replace("sha256:…", DIGEST), encoding="utf-8")
        done = subprocess.run([part("kubectl"), "kustomize", folder], check=True, capture_output=True)
        objects = [*yaml.safe_load_all(done.stdout)]
        assert {one["metadata"]["namespace"] for one in objects} == {"engine"}
        found[kind] = {f"{one['kind']}{one['metadata']['name'].removeprefix('engine')}": one for one in objects}
    return found


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster["spec"]
    if cluster["kind"] == "DaskCluster":
        return [spec[one]["spec"] for one in ("scheduler", "worker")]
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    return [spec["submitterPodTemplate"]["spec"], *(group["template"]["spec"] for group in groups)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_operator_and_kubernetes_understand_every_field(
    made: dict[str, Objects], schemas: Objects, kind: str
) -> None:
    jsonschema.validate(made[kind][kind]["spec"], schemas[kind])
    for spec in pods(made[kind][kind]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.34", strict=True)
    others = {name: one for name, one in made[kind].items() if name != kind}
    for one in others.values():
        kubernetes_validate.validate(one, "1.34", strict=True)
    expected = {"DaskCluster": ["NetworkPolicy"], "RayJob": ["ConfigMapjobs", "NetworkPolicy", "NetworkPolicy-head"]}
    assert sorted(others) == expected[kind]


@pytest.mark.parametrize(
    ("kind", "at", "slip"),
    [
        ("DaskCluster", "worker", {"replica": 2}),
        ("DaskCluster", "worker", {"replicas": "two"}),
        ("RayJob", "rayClusterSpec", {"rayversion": "2.60.0"}),
        ("RayJob", "rayClusterSpec", {"authOptions": {"mode": "tokens"}}),
    ],
)
def test_a_slip_is_seen(made: dict[str, Objects], schemas: Objects, kind: str, at: str, slip: dict[str, Any]) -> None:
    spec = deepcopy(made[kind][kind]["spec"])
    spec[at] |= slip

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, schemas[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_pods_run_the_image_by_its_digest_with_no_right_and_write_nowhere_but_in_volumes_of_their_own(
    made: dict[str, Objects], kind: str
) -> None:
    for spec in pods(made[kind][kind]):
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["image"] == f"registry.example/models/train@{DIGEST}"
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        assert all("emptyDir" in one or one["name"] == "git" for one in spec["volumes"])


def test_the_policy_and_the_service_of_dask_are_about_the_pods_of_the_cluster(made: dict[str, Objects]) -> None:
    """The operator labels each pod with the name of its cluster, and with what it is."""
    cluster = made["DaskCluster"]["DaskCluster"]
    own = {"dask.org/cluster-name": cluster["metadata"]["name"]}

    assert cluster["spec"]["scheduler"]["service"]["selector"] == own | {"dask.org/component": "scheduler"}
    only_its_own_get_in(made["DaskCluster"]["NetworkPolicy"]["spec"], own)


def test_the_policies_of_ray_are_about_the_pods_of_the_job_and_only_its_head_has_secrets(
    made: dict[str, Objects],
) -> None:
    job, own = made["RayJob"]["RayJob"]["spec"], {"engine": "ray"}
    groups = [job["rayClusterSpec"]["headGroupSpec"], *job["rayClusterSpec"]["workerGroupSpecs"]]

    templates = [job["submitterPodTemplate"], *(group["template"] for group in groups)]
    assert [one["metadata"]["labels"] for one in templates] == [own] * 3
    only_its_own_get_in(made["RayJob"]["NetworkPolicy"]["spec"], own)
    outward = made["RayJob"]["NetworkPolicy-head"]["spec"]
    assert outward["podSelector"] == {"matchLabels": own | {"ray.io/node-type": "head"}}
    assert outward["policyTypes"] == ["Egress"]
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    told = ["envFrom" in container for one in templates for container in one["spec"]["containers"]]
    assert told == [False, True, False]


def only_its_own_get_in(policy: dict[str, Any], own: dict[str, str]) -> None:
    """These pods reach each other and names; beside them others, who are named, reach some ports."""
    assert policy["podSelector"] == {"matchLabels": own}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    first, *more = policy["ingress"]
    assert first == {"from": [{"podSelector": {"matchLabels": own}}]}
    assert all(rule["from"] and rule["ports"] for rule in more)
    others = [rule for rule in policy["egress"] if rule.get("to") != [{"podSelector": {"matchLabels": own}}]]
    assert [{port["port"] for port in rule["ports"]} for rule in others] == [{53}]
