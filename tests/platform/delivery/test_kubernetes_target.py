"""What no cluster is asked for: it is refused before anything changes there. What one pulls, nobody applies."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml
from parts import part
from rendering import ROOT
from slipway.base.errors import MlopsError
from slipway.delivery import access, beside, deploy, environments, rollback, target, variables
from slipway.delivery.compose import container as pod
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.kubernetes import manifest, rivals
from slipway.delivery.kubernetes import target as kubernetes
from slipway.delivery.kubernetes.cluster import BUNDLE
from slipway.delivery.target import Admitted, Rival, Run
from slipway.forge import git
from slipway.settings.environment import Challenger, Release
from slipway.settings.project import Project
from targets import names, plugged, quiet

__all__ = ["names", "plugged"]
pytestmark = pytest.mark.usefixtures("plugged")

IMAGE = "deploy/kubernetes/overlays/staging/image.yaml"
OVERLAY = "namespace: flights-staging\nresources: []\ntransformers: [image.yaml]\n"
ACCESS = "access:\n  anyone: true\n"
TOKENS = f"access:\n  tokens:\n    billing: {{digest: 'sha256:{'a' * 64}'}}\n"
CHALLENGER = f"""\
challenger:
  version: 9
  digest: sha256:{"9" * 64}
  commit: {"b" * 40}
  mode: shadow
"""
TLS = "serve:\n  tls: {certificate: /tls/tls.crt, key: /tls/tls.key}\n"
BUCKET = "serving:\n  log: s3://logs/p\n"
OTHER_RELEASE = f"acme/flights@sha256:{'9' * 64}"
RELEASE = f"acme/flights@sha256:{'1' * 64}"


@pytest.fixture
def named(project: Project, names: Callable[..., None]) -> Callable[..., None]:
    """Let staging's file name the cluster, and an image that the overlay names as well."""

    def name(extra: str = ACCESS, log: str = "s3://logs/p") -> None:
        names("kubernetes")
        path = project.environments / "staging.yaml"
        path.write_text(f"{path.read_text('utf-8')}  image: {RELEASE}\n{extra}", encoding="utf-8")
        folder = project.root / "deploy/kubernetes/overlays/staging"
        folder.mkdir(parents=True)
        (folder / "kustomization.yaml").write_text(OVERLAY, encoding="utf-8")
        for file, text in beside.files(project, "staging", environments.load(project, "staging")).items():
            (project.root / file).write_text(text, encoding="utf-8")
        policy = project.root / "policy.yaml"
        policy.write_text(policy.read_text("utf-8").replace("serving:\n", f"serving:\n  log: {log}\n"), "utf-8")
        commit(project)

    return name


def commit(project: Project) -> None:
    git.git(project.root, "add", "--force", "deploy")
    git.git(project.root, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", "Name a cluster")


def refusal(project: Project) -> str:
    """Why staging is not deployed."""
    with pytest.raises(MlopsError) as refused:
        deploy.deploy(Project.find(project.root), "staging", quiet)
    return refused.value.problem


def test_an_environment_that_does_not_say_who_may_ask_is_refused(project: Project, named: Callable[..., None]) -> None:
    named(extra="")

    assert "does not say who may ask them" in refusal(project)


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (TOKENS, "would cross the network of the cluster for everybody to read"),
        (f"{TOKENS}  plain: true\n  metrics: closed\n{CHALLENGER}", "closes /metrics, where a deployment reads"),
    ],
)
def test_what_pods_would_not_keep_secret_or_cannot_tell_is_refused(
    project: Project, named: Callable[..., None], extra: str, why: str
) -> None:
    named(extra=extra)

    assert why in refusal(project)


def test_a_certificate_that_pods_do_not_have_is_refused(project: Project, named: Callable[..., None]) -> None:
    named()
    path = project.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace("serve:\n", "serve:\n  tls: {certificate: a.pem, key: b.pem}\n"))
    commit(project)

    assert "names another file" in refusal(project)


def test_a_log_in_a_folder_is_refused(project: Project, named: Callable[..., None]) -> None:
    named(log="''")

    assert "names no bucket" in refusal(project)


def test_an_overlay_that_names_another_image_is_refused(project: Project, named: Callable[..., None]) -> None:
    named()
    path = project.root / IMAGE
    path.write_text(path.read_text("utf-8").replace("1" * 64, "2" * 64), encoding="utf-8")
    commit(project)

    assert refusal(project) == f"{IMAGE} does not say what staging.yaml says"


@pytest.mark.parametrize(
    "path", ["deploy/kubernetes/overlays/staging/kustomization.yaml", "vendor/slipway/kubernetes/monitor/cronjob.yaml"]
)
def test_a_change_of_manifests_that_is_in_no_commit_is_refused(
    project: Project, named: Callable[..., None], path: str
) -> None:
    named()
    (project.root / path).parent.mkdir(parents=True, exist_ok=True)
    with (project.root / path).open("a", encoding="utf-8") as file:
        file.write("# more\n")

    assert f"{path} has changes that are in no commit" in refusal(project)


def test_a_proposal_changes_both_files(project: Project, named: Callable[..., None]) -> None:
    named()
    digest = f"sha256:{'3' * 64}"
    release = msgspec.structs.replace(environments.champion(project, "staging"), image=f"acme/flights@{digest}")

    environments.propose_change(project, "staging", {"champion": release}, "promote/it", "Promote", "a title")

    changed = git.git(project.root, "diff", "--name-only", "HEAD", "promote/it").split()
    assert changed == ["deploy/environments/staging.yaml", IMAGE]
    assert all(digest in git.git(project.root, "show", f"promote/it:{path}") for path in changed)


def test_an_environment_elsewhere_asks_no_cluster(
    project: Project, names: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no kubectl where nobody has a cluster."""
    names("one")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert deploy.running(project, "staging") == []


@pytest.fixture
def pulled(project: Project, named: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """Staging is in a cluster that pulls; kubectl there is none, and git alone is found."""
    named()
    settings = project.root / "pyproject.toml"
    text = settings.read_text("utf-8").replace("[tool.mlops]\n", '[tool.mlops]\ndelivery = "flux"\n')
    settings.write_text(text, encoding="utf-8")
    found = Project(project.root)
    (project.root / IMAGE).write_text(beside.files(found, "staging", environments.load(found, "staging"))[IMAGE])
    commit(project)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return found


def pods_are_told(project: Project) -> Run:
    """The run that the overlay's file tells of."""
    image, told = yaml.safe_load_all((project.root / IMAGE).read_text("utf-8"))
    (container,) = yaml.safe_load(told["patch"])["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one["value"] for one in container["env"]}
    name = "{newName}@{digest}".format(**image["imageTag"])
    return variables.read(found, bundle="", host="", port=0, image=name)


#: In the place of kubectl: lists a pod, until somebody asks for a way to it, by when it has gone.
GOING = """\
#!/bin/sh
case "$*" in
  *port-forward*) rm -f "$0.json"; echo 'pods not found'; exit 1 ;;
  *"get pods"*) cat "$0.json" 2>/dev/null || echo '{"items": []}' ;;
esac
"""


def test_a_deployment_is_not_proven_where_every_pod_has_gone_by_the_time_it_is_asked(
    pulled: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = pods_are_told(pulled)
    env = [{"name": name, "value": value} for name, value in variables.told(run).items()]
    there = {
        "metadata": {"name": "model-1", "namespace": "flights-staging", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "model", "image": run.image, "env": env}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    (tmp_path / "kubectl").write_text(GOING, encoding="utf-8")
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "kubectl.json").write_bytes(msgspec.json.encode({"items": [there]}))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")

    with pytest.raises(MlopsError, match=f"no pod of version {run.version} is ready in flights-staging"):
        list(kubernetes.reached(pulled, run))

    assert not (tmp_path / "kubectl.json").exists()


def test_a_file_that_is_pulled_tells_pods_what_a_deployment_would(pulled: Project) -> None:
    path = pulled.root / "policy.yaml"
    path.write_text(path.read_text("utf-8") + "privacy: {fields: {carrier: drop}}\n", encoding="utf-8")
    changed = Project(pulled.root)
    beside_it = beside.lagging(changed, "staging", environments.load(changed, "staging"))
    (pulled.root / IMAGE).write_text(beside.files(changed, "staging", environments.load(changed, "staging"))[IMAGE])

    run, release = pods_are_told(changed), environments.champion(changed, "staging")

    assert beside_it == [IMAGE]
    assert (run.version, run.digest, run.commit) == (release.version, release.digest, release.commit)
    assert (run.image, run.limits, run.privacy) == (RELEASE, changed.policy.serving, {"carrier": "drop"})


@pytest.fixture
def guarded(pulled: Project) -> Project:
    """Staging asks for tokens, by HTTPS, and its log hashes a column; the manifests are those of a new project."""
    shutil.copytree(ROOT / "template/deploy/kubernetes/base", pulled.root / "deploy/kubernetes/base")
    overlay = pulled.root / "deploy/kubernetes/overlays/staging/kustomization.yaml"
    overlay.write_text(OVERLAY.replace("[]", "[../../base]"), encoding="utf-8")
    policy, path = pulled.root / "policy.yaml", pulled.environments / "staging.yaml"
    policy.write_text(policy.read_text("utf-8") + "privacy: {fields: {carrier: hash}}\n", encoding="utf-8")
    path.write_text(path.read_text("utf-8").replace(ACCESS, TOKENS).replace("serve:\n", TLS), encoding="utf-8")
    commit(pulled)
    return Project(pulled.root)


def made(project: Project) -> list[dict[str, Any]]:
    """The objects that a controller makes of the overlay."""
    command = [str(part("kubectl")), "kustomize", str(project.root / "deploy/kubernetes/overlays/staging")]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True).stdout))


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(32, 38)])
def test_what_is_pulled_is_what_a_deployment_would_apply(guarded: Project, version: str) -> None:
    """With tokens, HTTPS and hashes; but for who may ask, which a deployment keeps in a ConfigMap."""
    plain = made(guarded)
    wanted = environments.load(guarded, "staging")
    (guarded.root / IMAGE).write_text(beside.files(guarded, "staging", wanted)[IMAGE], encoding="utf-8")
    pulled = made(guarded)
    (deployment,) = (one for one in pulled if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    run = variables.read(env, bundle="", host="", port=0, image=container["image"])

    for one in plain:
        manifest.tell(one, run)
        kubernetes_validate.validate(one, version, strict=True)

    assert msgspec.json.decode(env["MLOPS_ADMITTED"], type=Admitted).tokens == wanted.access.tokens  # type: ignore[union-attr]
    assert (run.guarded, run.tls, run.privacy) == (True, wanted.serve.tls, {"carrier": "hash"})
    assert {one["mountPath"] for one in container["volumeMounts"]} > {"/tls", "/project/.mlops/keys/staging"}
    probes = ("livenessProbe", "readinessProbe", "startupProbe")
    assert [container[name]["httpGet"]["scheme"] for name in probes] == ["HTTPS"] * 3
    assert [one["spec"]["ports"][0]["port"] for one in pulled if one["kind"] == "Service"] == [443]
    (applied,) = (one["spec"]["template"]["spec"]["containers"][0] for one in plain if one["kind"] == "Deployment")
    left = [one["name"] for one in applied["env"] if one["name"] in ("MLOPS_ADMITTED", "MLOPS_RIVAL")]
    assert len(left) == 2, "what a controller has left would be taken"
    applied["env"] = [one for one in applied["env"] if one["value"]]
    container["env"] = [one for one in container["env"] if one["name"] != "MLOPS_ADMITTED"]
    assert sorted_lists(pulled) == sorted_lists(plain)


def sorted_lists(value: Any) -> Any:
    """The value with every list in an order of its own: Kustomize adds in front, and it means nothing here."""
    if isinstance(value, list):
        return sorted((sorted_lists(one) for one in value), key=repr)
    return {key: sorted_lists(one) for key, one in sorted(value.items())} if isinstance(value, dict) else value


def test_a_container_finds_who_may_ask_in_what_is_mounted_unless_a_variable_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a container that was killed had been told is no reason to end."""
    mounted = tmp_path / "admitted" / "admitted.json"
    monkeypatch.setattr(variables, "ADMITTED", mounted)
    place = EnvironmentFolder(tmp_path, "staging")
    place.folder.mkdir(parents=True)
    read = place.path_of(Admitted).read_text

    pod.admit(place)
    assert not place.path_of(Admitted).exists()
    mounted.parent.mkdir()
    for said in ("one", "another"):
        pod.admit(place)
        mounted.write_text(said, encoding="utf-8")
        assert read("utf-8") == said
    monkeypatch.setenv("MLOPS_ADMITTED", "a variable")
    pod.admit(place)
    assert (read("utf-8"), mounted.read_text("utf-8")) == ("a variable", "another")


def test_a_challenger_that_is_pulled_is_what_a_deployment_would_put_beside_its_champion(guarded: Project) -> None:
    """But for the ConfigMap that tells of it, in whose place there is a variable."""
    plain = made(guarded)
    path = guarded.environments / "staging.yaml"
    path.write_text(f"{path.read_text('utf-8')}{CHALLENGER}  share: 0.5\n  image: {OTHER_RELEASE}\n", encoding="utf-8")
    (guarded.root / IMAGE).write_text(beside.files(guarded, "staging", environments.load(guarded, "staging"))[IMAGE])
    champion, challenger = containers_of(made(guarded))
    env = {one["name"]: one["value"] for one in champion["env"]}
    run = variables.read(env, bundle=BUNDLE, host="", port=0, image=champion["image"])
    rival = msgspec.json.decode(env["MLOPS_RIVAL"], type=Rival)

    for one in plain:
        manifest.tell(one, run)
    (deployment,) = (one for one in plain if one["kind"] == "Deployment")
    rivals.add(deployment, rival)

    assert sorted_lists(challenger) == sorted_lists(containers_of(plain)[1])
    told = {one["name"]: one["value"] for one in challenger["env"]}
    assert variables.read(told, bundle=BUNDLE, host="", port=0, image=challenger["image"]) == rival.run
    assert (rival.mode, rival.share, rival.run.image, rival.run.guarded) == ("shadow", 0.5, OTHER_RELEASE, False)
    assert {one["mountPath"] for one in challenger["volumeMounts"]}.isdisjoint({"/tls", "/admitted"})


@pytest.fixture
def challenged(guarded: Project) -> Project:
    """Version 9 is tried beside version 1 in a cluster that pulls, as a commit says."""
    path = guarded.environments / "staging.yaml"
    path.write_text(f"{path.read_text('utf-8')}{CHALLENGER}  image: {OTHER_RELEASE}\n", encoding="utf-8")
    (guarded.root / IMAGE).write_text(beside.files(guarded, "staging", environments.load(guarded, "staging"))[IMAGE])
    commit(guarded)
    return guarded


def test_a_share_that_the_file_for_pods_does_not_say_is_refused(challenged: Project) -> None:
    assert beside.lagging(challenged, "staging", environments.load(challenged, "staging")) == []
    path = challenged.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace("mode: shadow", "mode: shadow\n  share: 0.2"), encoding="utf-8")
    commit(challenged)

    assert beside.lagging(challenged, "staging", environments.load(challenged, "staging")) == [IMAGE]
    assert refusal(challenged) == f"{IMAGE} does not say what staging.yaml says and policy.yaml"


def test_a_challenger_stays_beside_other_champions_until_it_becomes_one(challenged: Project) -> None:
    first = environments.champion(challenged, "staging")
    tried = environments.challenger(challenged, "staging")
    second = msgspec.structs.replace(first, version=2, image=f"acme/flights@sha256:{'2' * 64}")

    merge_proposal(challenged, {"champion": second})
    promoted = containers_of(made(challenged))
    rollback.roll_back(challenged, "staging", quiet)
    rolled_back = containers_of(made(challenged))
    merge_proposal(challenged, {"champion": environments._as_release(tried), "challenger": None})

    assert [one["image"] for one in promoted] == [second.image, OTHER_RELEASE]
    assert [one["image"] for one in rolled_back] == [RELEASE, OTHER_RELEASE]
    assert [one["image"] for one in containers_of(made(challenged))] == [OTHER_RELEASE]
    assert "MLOPS_RIVAL" not in (challenged.root / IMAGE).read_text("utf-8")


def merge_proposal(project: Project, changes: dict[str, Release | None]) -> None:
    environments.propose_change(project, "staging", changes, "promote/it", "Propose it", "a title")
    git.git(project.root, "merge", "--quiet", "promote/it")


def test_a_challenger_without_an_image_is_refused_before_it_is_proposed(pulled: Project) -> None:
    tried = Challenger(version=9, digest=f"sha256:{'9' * 64}", commit="b" * 40, mode="shadow")

    with pytest.raises(MlopsError, match="has no image, and pods run one"):
        merge_proposal(pulled, {"challenger": tried})


def test_a_column_that_the_log_drops_decides_nothing(pulled: Project) -> None:
    policy = pulled.root / "policy.yaml"
    policy.write_text(policy.read_text("utf-8") + "privacy: {fields: {carrier: drop}}\n", encoding="utf-8")

    with pytest.raises(MlopsError, match="carrier shall decide who answers in staging"):
        environments.challenge(Project(pulled.root), "staging", key="carrier")


def containers_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The containers of champion and challenger, or of the champion alone."""
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    found: list[dict[str, Any]] = deployment["spec"]["template"]["spec"]["containers"]
    return sorted(found, key=lambda one: one["name"] != "model")


def test_who_is_let_in_where_a_controller_pulls_is_told_to_pods_in_the_same_commit(guarded: Project) -> None:
    before = git.git(guarded.root, "show", f"HEAD:{IMAGE}")

    _, token = access.add(guarded, "staging", "planning")

    branch = "access/staging-planning"
    assert access.digest_of(token) not in before
    changed = git.git(guarded.root, "diff", "--name-only", "HEAD", branch).split()
    assert changed == ["deploy/environments/staging.yaml", IMAGE]
    assert all(access.digest_of(token) in git.git(guarded.root, "show", f"{branch}:{path}") for path in changed)


def test_what_pods_cannot_do_is_refused_before_it_is_proposed(pulled: Project) -> None:
    path = pulled.environments / "staging.yaml"
    path.write_text(path.read_text("utf-8").replace(ACCESS, ""), encoding="utf-8")
    release = environments.champion(pulled, "staging")

    with pytest.raises(MlopsError, match="does not say who may ask them"):
        environments.propose_change(pulled, "staging", {"champion": release}, "promote/it", "Promote", "a title")


def test_a_rollback_of_what_is_pulled_is_a_commit_of_both_files(pulled: Project) -> None:
    first = environments.champion(pulled, "staging")
    second = msgspec.structs.replace(first, version=2, image=f"acme/flights@sha256:{'2' * 64}")
    environments.propose_change(pulled, "staging", {"champion": second}, "promote/it", "Promote", "a title")
    git.git(pulled.root, "merge", "--quiet", "promote/it")

    told_second = pods_are_told(pulled)
    rollback.roll_back(pulled, "staging", quiet)

    assert (told_second.version, told_second.image) == (2, second.image)
    assert (pods_are_told(pulled).version, environments.champion(pulled, "staging")) == (1, first)
    changed = git.git(pulled.root, "show", "--format=", "--name-only").split()
    assert changed == ["deploy/environments/staging.yaml", IMAGE]


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(32, 38)])
def test_a_deployment_with_a_challenger_is_what_every_supported_version_understands(
    project: Project, version: str
) -> None:
    deployment = yaml.safe_load((ROOT / "template/deploy/kubernetes/base/deployment.yaml").read_text("utf-8"))
    run = Run(
        environment="staging", version=2, digest="", commit="", bundle="", python="", host="v2.sock", port=0, source="",
        limits=project.policy.serving, image=RELEASE, role="challenger",
    )  # fmt: skip
    rival = Rival(run=run, mode="canary", share=0.1)

    rivals.add(deployment, rival)

    champion, beside = deployment["spec"]["template"]["spec"]["containers"]
    assert (beside["image"], beside["securityContext"]) == (RELEASE, champion["securityContext"])
    assert "readinessProbe" not in beside, "a challenger that fails would take its champion out of service"
    for one in (deployment, rivals.config_map(rival)):
        kubernetes_validate.validate(one, version, strict=True)


def test_what_a_controller_keeps_is_not_stopped_from_here(pulled: Project) -> None:
    with pytest.raises(MlopsError, match="a controller in the cluster keeps staging") as refused:
        target.find("kubernetes").stop(pulled, "staging")

    assert "deploy/kubernetes/flux.yaml" in refused.value.next_step
