"""Deploying to a real Kubernetes node: what runs is what a commit names, and nothing is lost while it changes."""

import http.client
import json
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import timeline
from certificates import certified
from clients import Client, asked_by, wait_until
from cluster import Door, Node, Puller, kubernetes_node
from containers import ContainerProject, image_name, log_in, with_proxy
from engine import Engine, Registry
from forge import TOKEN, Forge, forge
from jobs import Jobs, command_for, with_jobs
from rendering import git
from running import free_port, make_bucket, prepare, train
from servers import mlflow_server, s3_store
from yaml import safe_dump_all, safe_load, safe_load_all

# They take as long as half of the other tests with an engine, and share no image with them.
pytestmark = pytest.mark.xdist_group("kubernetes")

NAMESPACE = "flight-delays-staging"
FOLDER = "deploy/kubernetes/overlays/staging"
IMAGE, OVERLAY = f"{FOLDER}/image.yaml", f"{FOLDER}/kustomization.yaml"
#: Those of their objects that Kubernetes 1.20 knows.
ENVIRONMENTS, KINDS = ("production", "staging"), {"Deployment", "NetworkPolicy", "Service"}
FILE = "deploy/environments/staging.yaml"
REPOSITORY = "acme/flight-delays"


@dataclass(frozen=True, kw_only=True)
class ClusterProject(ContainerProject):
    """A project whose staging is in a cluster, with the doors to what may be away."""

    node: Node
    registry_door: Door
    bucket_door: Door
    tracking_door: Door
    forge_door: Door
    forge: Forge
    credentials: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """With kubectl for this cluster, and with what lets one into the bucket of the log."""
        path = os.pathsep.join([self.node.env["PATH"], str(self.engine.path)])
        return super().environment() | self.node.env | self.credentials | self.tracked | {"PATH": path}

    @property
    def tracked(self) -> dict[str, str]:
        """Where the registry of models is, as seen from this machine and from pods."""
        return {"MLFLOW_TRACKING_URI": f"http://{self.tracking_door.address}"}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Ask the cluster about staging."""
        return self.node.kubectl("--namespace", NAMESPACE, *arguments, stdin=stdin).stdout

    def pods(self) -> list[dict[str, Any]]:
        """The pods that answer in staging and are not about to go."""
        answering = ("--selector", "app.kubernetes.io/name=model")
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", *answering, "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def clients(self) -> list[Client]:
        """Clients of every habit, at the address of the Service."""
        row = json.dumps(self.flights(1)[0])
        habits = [(True, 0.0), (True, 0.0), (False, 0.0), (True, 1.0)]
        return [self.client(row, keeps, pause + 0.02) for keeps, pause in habits]

    def varied_clients(self) -> list[Client]:
        """Clients that each ask about another flight, so that a share of them meets a challenger."""
        return [self.client(json.dumps(row), False, 1.0) for row in self.flights(30)]

    def client(self, row: str, keeps: bool, pause_s: float) -> Client:
        """A client that asks as the file of staging wants it: by HTTPS and with a token, once that says so."""
        host, port = self.node.address_of("model", NAMESPACE), 443 if self.tokens else 80
        context = ssl.create_default_context(cafile=self.certificate) if self.tokens else None
        return Client(port, row, keeps, pause_s, next(iter(self.tokens.values()), ""), host, context)

    @property
    def certificate(self) -> Path:
        """The file with the certificate of the pods."""
        return self.node.folder / "certificate.pem"

    def answers(self, rows: list[dict[str, Any]], token: str) -> list[tuple[int, Any]]:
        """How staging answers who brings a token and asks about each row, over one connection of HTTPS."""
        host, context = self.node.address_of("model", NAMESPACE), ssl.create_default_context(cafile=self.certificate)
        headers, said = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}, []
        with closing(http.client.HTTPSConnection(host, 443, timeout=10, context=context)) as connection:
            for row in rows:
                connection.request("POST", "/predict", json.dumps(row), headers)
                answer = connection.getresponse()
                said.append((answer.status, json.load(answer)))
        return said

    def let_in(self, name: str) -> None:
        """Let one more ask staging, with a token, in a commit."""
        self.tokens[name] = self.mlops("access", "add", name, "staging").stdout.splitlines()[0]
        git(self.root, "merge", "--quiet", "--no-edit", f"access/staging-{name}")


#: Ends the processes that answer, in a container, and not the one that keeps them.
KILL_SERVERS = """
import os, pathlib, signal
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    if int(entry.name) != os.getpid() and b"slipway.serving.run" in (entry / "cmdline").read_bytes():
        os.kill(int(entry.name), signal.SIGKILL)
"""


def digests_in(project: ClusterProject, commit: str = "HEAD") -> tuple[str, str]:
    """The digest of the image in staging's file and in its overlay, as a commit has them."""
    found = [re.search(r"@?(sha256:[0-9a-f]{64})", line) for line in (
        next(line for line in git(project.root, "show", f"{commit}:{path}").splitlines() if key in line)
        for path, key in ((FILE, "  image:"), (IMAGE, "  digest:"))
    )]  # fmt: skip
    first, second = (one[1] for one in found if one)
    return first, second


@pytest.fixture(scope="module")
def cluster(
    render: Callable[..., Path], engine: Engine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterProject]:
    """Version 1 answers in staging from two pods, and version 2 has an image. Each test leaves version 1 answering."""
    place = tmp_path_factory.mktemp("cluster")
    for name in ("node", "store", "tracking", "forge"):
        (place / name).mkdir()
    log_in(engine, registry)
    with ExitStack() as stack:
        store, there = stack.enter_context(s3_store(place / "store")), stack.enter_context(forge(place / "forge"))
        tracking = stack.enter_context(mlflow_server(place / "tracking", free_port()))
        node, registry_door = stack.enter_context(kubernetes_node(registry, place / "node"))
        servers = (store.endpoint, tracking, there.address)
        bucket, tracked, cloned = (stack.enter_context(Door(node.here, 0, server)) for server in servers)
        data = {"data_remote": "s3", "data_remote_url": "s3://logs/dvc", "s3_endpoint": f"http://{bucket.address}"}
        prepared = prepare(render(target="kubernetes", image=image_name(registry), **data))
        project = ClusterProject(
            prepared.root, engine, registry, node=node, registry_door=registry_door, bucket_door=bucket,
            tracking_door=tracked, forge_door=cloned, forge=there,
            credentials=store.owner | {"AWS_ENDPOINT_URL": f"http://{bucket.address}", "AWS_REGION": "us-east-1"},
        )  # fmt: skip
        make_bucket(prepared, store.endpoint, "logs", store.owner)
        project.mlops("policy", "add", "labels")
        project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000\n  log: s3://logs/p")
        move_staging(project)
        train(project)
        project.ship()
        as_the_page_says(project)
        project.release("staging")
        project.train_another(trees=20)
        project.ship()
        yield project


def move_staging(project: ClusterProject) -> None:
    """Let staging run in the cluster, on two pods."""
    project.edit(FILE, "target: native", "target: kubernetes")
    project.edit(FILE, "workers: 1", "workers: 1\n  labels: true")
    project.edit(FILE, "champion: null", "access:\n  anyone: true\n\nchampion: null")
    project.edit(OVERLAY, "transformers:", "replicas: [{name: model, count: 2}]\ntransformers:")
    project.commit("Run staging in the cluster")


def as_the_page_says(project: ClusterProject) -> None:
    """Make the namespace, and what is secret in it."""
    words = ["create", "secret", "docker-registry", "registry", f"--docker-server={project.images.address}"]
    words += [f"--docker-username={project.images.username}", f"--docker-password={project.images.password}"]
    project.kubectl("create", "namespace", NAMESPACE)
    project.kubectl(*words)
    wait_until(lambda: "default" in project.kubectl("get", "serviceaccounts"))
    project.kubectl("patch", "serviceaccount", "default", "-p", '{"imagePullSecrets": [{"name": "registry"}]}')
    project.kubectl(
        "create",
        "secret",
        "generic",
        "log",
        *(f"--from-literal={key}={value}" for key, value in project.credentials.items()),
    )


def spoilt(project: ClusterProject, tag: str = "by-hand") -> str:
    """Push an image with other code than trained the model that is in it; return its name by digest."""
    name = f"{project.image}:{tag}"
    change = 'RUN sed -i \'s/rows\\["distance"\\]/rows["distance"] * 2/\' src/flight_delays/features.py'
    user = f"USER root\n{change}\nUSER 10001:10001"
    project.engine.docker("build", "--tag", name, "-", stdin=f"FROM {image_of(project)}\n{user}\n")
    digest = re.search(r"sha256:[0-9a-f]{64}", project.engine.docker("push", name).stdout)
    assert digest is not None
    return f"{project.image}@{digest[0]}"


def image_of(project: ClusterProject) -> str:
    """The image that staging's file names."""
    return f"{project.image}@{digests_in(project)[0]}"


def versions_of(project: ClusterProject) -> set[int]:
    """The versions that pods are told to be."""
    told = [
        {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]} for pod in project.pods()
    ]
    return {int(one["MLOPS_VERSION"]) for one in told}


def all_hear(clients: list[Client], version: int) -> None:
    """Wait until a version alone answers: over an open connection, a pod that goes does so for some seconds more."""
    wait_until(lambda: all(client.versions[-5:] == [version] * 5 for client in clients), limit_s=60)


def test_a_release_is_one_digest_in_both_files_of_one_commit(cluster: ClusterProject) -> None:
    first, second = digests_in(cluster)

    assert first == second
    changed = git(cluster.root, "log", "-1", "--format=", "--name-only", "--full-diff", "--", IMAGE).split()
    assert set(changed) == {IMAGE, FILE}
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.pods()} == {f"{cluster.image}@{first}"}
    assert len(cluster.pods()) == 2


def test_a_pod_may_do_nothing_but_answer(cluster: ClusterProject) -> None:
    pod = cluster.pods()[0]["metadata"]["name"]
    look = """
import os, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(os.getuid(), *(status[name].strip() for name in ("CapEff", "NoNewPrivs", "Seccomp")))
print(pathlib.Path("/var/run/secrets").exists(), os.access("/project", os.W_OK), os.access("/bundle", os.W_OK))
"""

    said = cluster.kubectl("exec", pod, "--", "python", "-c", look)

    assert said == "10001 0000000000000000 1 2\nFalse False False\n"


def test_no_request_fails_while_versions_change_and_everything_else_is_away(cluster: ClusterProject) -> None:
    """An image under the tag of one that is promoted, which the node has not fetched yet, is never taken for it."""
    moved = other_under_its_tag(cluster)
    with asked_by(cluster.clients()) as clients:
        cluster.mlops("promote", "staging")
        git(cluster.root, "merge", "--quiet", "--no-edit", "promote/staging-v2")
        merged = time.time()
        cluster.mlops("deploy", "staging")
        all_hear(clients, 2)
        keep_timeline(cluster, "push", merged, clients)
        promoted = image_of(cluster)
        with cluster.registry_door.shut(), cluster.bucket_door.shut():
            cluster.mlops("rollback", "staging")
            all_hear(clients, 1)

    assert [client.failures for client in clients] == [[]] * 4
    assert all(set(client.versions) == {1, 2} for client in clients)
    assert len(set(digests_in(cluster))) == 1
    assert digests_in(cluster) == digests_in(cluster, "HEAD~3")
    assert moved not in (promoted, image_of(cluster))


def other_under_its_tag(cluster: ClusterProject) -> str:
    """Push an image that answers wrongly under the tag of version 2's; return its name by digest."""
    listed = cluster.engine.docker("images", "--format={{.Tag}}", f"--filter=reference={cluster.image}:v2-*")
    (tag,) = listed.stdout.split()
    return spoilt(cluster, tag)


def keep_timeline(cluster: ClusterProject, way: str, merged: float, clients: list[Client]) -> None:
    """Keep in the log of the test what a release of version 2 took; see `benchmarks/README.md`."""
    pods, events = {"items": cluster.pods()}, json.loads(cluster.kubectl("get", "events", "--output=json"))
    load = os.getloadavg()[0]
    print(f"release by {way}, load {load:.1f}: {timeline.of_release(merged, 2, clients, pods, events)}")


def test_a_pod_that_goes_loses_no_request_and_one_that_is_killed_only_its_own(cluster: ClusterProject) -> None:
    with asked_by(cluster.clients()) as clients, cluster.registry_door.shut():
        gone, killed = (pod["metadata"]["name"] for pod in cluster.pods())
        cluster.kubectl("delete", "pod", gone)
        after_leaving = [list(client.failures) for client in clients]
        cluster.kubectl("rollout", "status", "deployment/model", "--timeout=120s")
        cluster.kubectl("delete", "pod", killed, "--grace-period=0", "--force")
        cluster.kubectl("rollout", "status", "deployment/model", "--timeout=120s")
        asked = [len(client.versions) for client in clients]
        wait_until(lambda: all(len(one.versions) > count for one, count in zip(clients, asked, strict=True)))

    assert after_leaving == [[]] * 4
    # One that it was asked, and one that met its address before every node knew.
    assert all(len(client.failures) <= 2 for client in clients)
    assert {1} == versions_of(cluster) == {version for client in clients for version in client.versions}


def test_a_node_is_drained_and_no_request_is_lost(cluster: ClusterProject, tmp_path: Path) -> None:
    """By the budget that `scaling/` has, in its form of before 1.21: a pod goes when another has taken its place."""
    budget = safe_load((cluster.root / "deploy/kubernetes/scaling/disruption.yaml").read_text("utf-8"))
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(budget | {"apiVersion": "policy/v1beta1"}))
    drain = ("drain", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s")
    with cluster.node.joined(tmp_path) as second, asked_by(cluster.clients()) as clients:
        before = nodes_of(cluster)
        there = cluster.node.kubectl(*drain, "node-0")
        moved = nodes_of(cluster)
        cluster.node.kubectl("uncordon", "node-0")
        cluster.node.kubectl(*drain, second)
        back = nodes_of(cluster)
    cluster.kubectl("delete", "poddisruptionbudget", "model")

    assert (before, moved, back) == (["node-0"] * 2, [second] * 2, ["node-0"] * 2)
    assert [client.failures for client in clients] == [[]] * 4
    assert "violate the pod's disruption budget" in there.stdout + there.stderr
    assert {version for client in clients for version in client.versions} == {1}


def nodes_of(cluster: ClusterProject) -> list[str]:
    """The node of each pod, once all that are wanted are ready."""
    cluster.kubectl("rollout", "status", "deployment/model", "--timeout=180s")
    return [pod["spec"]["nodeName"] for pod in cluster.pods()]


def test_an_image_that_answers_wrongly_gets_no_request(cluster: ClusterProject) -> None:
    before, good = git(cluster.root, "rev-parse", "HEAD").strip(), image_of(cluster)
    bad = spoilt(cluster)
    cluster.name_image(bad)

    unlike = cluster.mlops("deploy", "staging", check=False)
    cluster.edit(IMAGE, good.rpartition("@")[2], bad.rpartition("@")[2])
    cluster.commit("Name it in the overlay, too")
    with asked_by(cluster.clients()) as clients:
        refused = cluster.mlops("deploy", "staging", check=False)
    git(cluster.root, "reset", "--quiet", "--hard", before)

    assert (unlike.exit_code, refused.exit_code) == (1, 1)
    assert f"{IMAGE} does not say what staging.yaml says" in unlike.stderr
    assert "this code cannot serve bundle sha256:" in refused.stderr
    assert "version 1 goes on serving" in refused.stderr
    assert [client.failures for client in clients] == [[]] * 4
    cluster.kubectl("rollout", "status", "deployment/model", "--timeout=120s")
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.pods()} == {good}
    assert "version 1 already answers" in cluster.mlops("deploy", "staging").stderr


def test_what_pods_answered_is_in_the_bucket_and_they_say_so(cluster: ClusterProject) -> None:
    host, row = cluster.node.address_of("model", NAMESPACE), json.dumps(cluster.flights(1)[0])
    with closing(http.client.HTTPConnection(host, 80, timeout=10)) as connection:
        connection.request("POST", "/predict", row, {"Content-Type": "application/json"})
        answer = json.load(connection.getresponse())["id"]

    def is_traced() -> bool:
        return "flight-delays version 1" in cluster.mlops("trace", answer, check=False).stdout

    def is_told_of() -> bool:
        status = cluster.mlops("status").stdout
        named = [f"{pod['metadata']['name']}, champion version 1" for pod in cluster.pods()]
        return "should run version 1, runs version 1" in status and all(name in status for name in named)

    wait_until(is_traced, limit_s=90)
    # A pod says that it is there within half a minute of its start.
    wait_until(is_told_of, limit_s=90)


@pytest.fixture(scope="module")
def jobs(cluster: ClusterProject) -> Jobs:
    """The Jobs of staging; the forge lets in who has a token, and no Secret holds one yet.

    One image does for all: that of training has the same layers.
    """
    cluster.forge.create(REPOSITORY)
    cluster.forge.is_private = True
    merge(cluster)
    image = cluster.mlops("build", "monitor", "--push").stdout.split()[-1]
    return jobs_of(cluster, image.rpartition("@")[2])


def merge(cluster: ClusterProject) -> None:
    """Let the forge have what this checkout has."""
    git(cluster.root, "push", "--quiet", "--force", str(cluster.forge.folder / REPOSITORY), "HEAD:main")


def jobs_of(cluster: ClusterProject, digest: str) -> Jobs:
    """The Jobs of an image, with what they find in the cluster. The overlay is as before afterwards."""
    repository = f"http://{cluster.forge_door.address}/{REPOSITORY}"
    page = {"https://github.com/acme/model.git": repository, "ghcr.io/acme/model": cluster.image}
    with_jobs(cluster.root / FOLDER, **page, **{"sha256:...": digest})
    made = list(safe_load_all(cluster.kubectl("kustomize", str(cluster.root / FOLDER))))
    git(cluster.root, "checkout", "--quiet", OVERLAY)
    crons = {one["metadata"]["name"]: one for one in made if one["kind"] == "CronJob"}
    cluster.kubectl(
        "apply", "--filename=-", stdin=safe_dump_all(one for one in made if one["metadata"]["name"] == "jobs")
    )
    # The CronJobs in the form of before 1.21, which has the same fields.
    others = [one | {"apiVersion": "batch/v1beta1"} for one in crons.values()]
    others += [one for one in made if one["kind"] == "NetworkPolicy"]
    accepted = cluster.kubectl(
        "apply", "--dry-run=server", "--output=name", "--filename=-", stdin=safe_dump_all(others)
    )
    assert len(accepted.split()) == len(others) == 7
    return Jobs(cluster.node, NAMESPACE, crons)


def test_the_monitor_as_a_job_says_what_it_says_on_a_machine(cluster: ClusterProject, jobs: Jobs) -> None:
    """By the branch of that day, in a report that stays; a verdict that asks to act is a Job that failed."""
    host, rows = cluster.node.address_of("model", NAMESPACE), {"rows": cluster.flights_of_one_airport()}
    with closing(http.client.HTTPConnection(host, 80, timeout=10)) as connection:
        connection.request("POST", "/predict", json.dumps(rows), {"Content-Type": "application/json"})
        asked = json.load(connection.getresponse())["predictions"][-1]["id"]
    password = f"--from-literal=password={TOKEN}"
    before = git(cluster.root, "rev-parse", "HEAD").strip()

    shut_out = jobs.run("monitor", "shut-out")
    cluster.kubectl("create", "secret", "generic", "git", "--from-literal=username=job", password)
    lost = jobs.run("monitor", "lost")
    told = [f"--from-literal={name}={value}" for name, value in cluster.tracked.items()]
    cluster.kubectl("create", "secret", "generic", "jobs", *told)
    cluster.mlops("policy", "add", "monitor.reports")
    cluster.edit("policy.yaml", "s3://flights/reports", "s3://logs/reports")
    cluster.commit("Keep what the monitor says")
    merge(cluster)
    wait_until(lambda: "flight-delays version 1" in cluster.mlops("trace", asked, check=False).stdout, limit_s=90)
    acting = jobs.run("monitor", "acting")
    report = kept_report(cluster)
    here = cluster.mlops("monitor", "staging", "--json", "--until", report["windows"][-1]["until"], check=False)
    commit = git(cluster.root, "rev-parse", "--short=12", "HEAD").strip()
    cluster.edit("policy.yaml", "min_rows: 200", "min_rows: 100000000")
    cluster.commit("Judge nothing")
    merge(cluster)
    waiting = jobs.run("monitor", "waiting")
    git(cluster.root, "reset", "--quiet", "--hard", before)
    merge(cluster)

    assert (shut_out.exit_code, lost.exit_code, acting.exit_code, waiting.exit_code) == (1, 1, 3, 0)
    assert "could not read Username" in shut_out.stdout
    assert "where it asks who comes, kubectl --namespace NAMESPACE create secret generic git" in shut_out.stdout
    assert "has no version 1 of flight-delays" in lost.stdout
    assert f"branch main, commit {commit}" in acting.stdout
    assert "kept at s3://logs/reports/staging/" in acting.stdout
    assert "lower monitor.min_rows in policy.yaml" in waiting.stdout
    assert (here.exit_code, report["verdict"]) == (3, "act")
    assert json.loads(here.stdout) == report


def kept_report(cluster: ClusterProject) -> dict[str, Any]:
    """The one report that the bucket holds."""
    code = """
from slipway.base.buckets import Bucket
bucket = Bucket("s3://logs/reports")
(name,) = (one.name for one in bucket.list("staging") if one.name.endswith("/report.json"))
print(bucket.held(name).decode())
"""
    report: dict[str, Any] = json.loads(cluster.run("python", "-c", code).stdout)
    return report


def test_a_job_whose_image_is_not_there_ends_by_its_deadline(cluster: ClusterProject, jobs: Jobs) -> None:
    nowhere = f"sha256:{'0' * 64}"
    job = jobs_of(cluster, nowhere).job("monitor", "nowhere")
    job["spec"]["activeDeadlineSeconds"] = 5

    ended = jobs.ended(job)

    assert ended.stderr == "DeadlineExceeded"
    events = cluster.kubectl("get", "events", "--output=jsonpath={.items[*].message}")
    assert f'Failed to pull image "{cluster.image}@{nowhere}"' in events


def test_training_as_a_job_registers_what_a_commit_makes_and_sends_it(cluster: ClusterProject, jobs: Jobs) -> None:
    before, commits = git(cluster.root, "rev-parse", "HEAD").strip(), []
    for trees in (30, 40):
        text = (cluster.root / "params.yaml").read_text("utf-8")
        (cluster.root / "params.yaml").write_text(re.sub(r"n_estimators: \d+", f"n_estimators: {trees}", text), "utf-8")
        cluster.commit(f"Use {trees} trees")
        commits.append(git(cluster.root, "rev-parse", "HEAD").strip())
    merge(cluster)

    trained = jobs.run("train", "trained", commit=commits[0])
    git(cluster.root, "reset", "--quiet", "--hard", before)
    merge(cluster)

    assert trained.exit_code == 0, trained.stdout
    assert f"branch main, commit {commits[0][:12]}" in trained.stdout
    assert "version 3 registered" in trained.stdout
    assert cluster.forge.git(REPOSITORY, "rev-parse", "candidate/v3~1").strip() == commits[0]
    sent = cluster.forge.git(REPOSITORY, "show", "--format=%an", "--name-only", "candidate/v3").split()
    assert sent[0] == "mlops"
    assert {"dvc.lock", "reports/metrics.json"} <= {*sent}


def test_a_batch_as_a_job_answers_as_on_a_machine_or_writes_nothing(cluster: ClusterProject, jobs: Jobs) -> None:
    """By the version that answers in staging, although a newer one is registered."""
    waiting = jobs.job("batch", "without-claim")
    waiting["spec"]["activeDeadlineSeconds"] = 5
    without_claim = jobs.ended(waiting)
    events = cluster.kubectl("get", "events", "--output=jsonpath={.items[*].message}")
    claimed, here = claim(cluster), cluster.node.folder / "here.parquet"
    (rows,) = (claimed / "rows").iterdir()

    answered = jobs.run("batch", "answered")
    (answers,) = (claimed / "answers").iterdir()
    cluster.mlops("batch", str(claimed / "rows"), str(here), "--version", "staging")
    rows.write_text(re.sub(r"\b(EWR|JFK|LGA)\b", "nowhere", rows.read_text("utf-8"), count=1), "utf-8")
    refused = jobs.ended(jobs.changed(jobs.job("batch", "refused"), command_for("batch")))

    assert without_claim.stderr == "DeadlineExceeded"
    assert 'persistentvolumeclaim "batch" not found' in events
    assert answered.exit_code == 0, answered.stdout
    assert "1,000 rows predicted by version 1, in /batch/answers/" in answered.stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.parquet", answers.name)
    assert answers.read_bytes() == here.read_bytes()
    assert refused.exit_code == 1
    assert "/batch/rows/june.csv breaks the contract" in refused.stdout
    assert [*(claimed / "answers").iterdir()] == [answers]


def claim(cluster: ClusterProject) -> Path:
    """Give the namespace the claim `batch`, with a file of rows; return its folder."""
    folder = cluster.node.folder / "claimed"
    of = {"storageClassName": "tests", "accessModes": ["ReadWriteMany"]}
    (folder / "rows").mkdir(parents=True)
    code = f"""
import polars as pl
from flight_delays.contract import CONTRACT
rows = pl.read_parquet("data/valid.parquet").select(one.name for one in CONTRACT.fields).head(1000)
rows.write_csv("{folder}/rows/june.csv")
"""
    cluster.run("python", "-c", code)
    for one in (folder, *folder.rglob("*")):
        os.chown(one, 10001, 10001)
    kinds: dict[str, dict[str, Any]] = {
        "PersistentVolume": {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}},
        "PersistentVolumeClaim": {"resources": {"requests": {"storage": "1Gi"}}},
    }
    made = [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": "batch"}, "spec": of | spec}
        for kind, spec in kinds.items()
    ]
    cluster.kubectl("apply", "--filename=-", stdin=safe_dump_all(made))
    return folder


def test_a_back_test_is_training_with_another_command(cluster: ClusterProject, jobs: Jobs) -> None:
    job = jobs.changed(jobs.job("train", "back-test"), command_for("backtest"))

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-ec", "mlops pipeline && mlops backtest"]
    cluster.kubectl("create", "--dry-run=server", "--filename=-", stdin=json.dumps(job))


def test_the_server_accepts_what_each_overlay_makes_and_would_refuse_a_slip(cluster: ClusterProject) -> None:
    """Those kinds that it knows; a selector that finds no pod passes the schemas, and not the server."""
    folder, how = cluster.root / "deploy/kubernetes/overlays", ("apply", "--server-side", "--dry-run=server", "-f", "-")
    cluster.node.kubectl("create", "namespace", "flight-delays-production")
    made = {name: list(safe_load_all(cluster.kubectl("kustomize", str(folder / name)))) for name in ENVIRONMENTS}
    known = [one for found in made.values() for one in found if one["kind"] in KINDS]
    slip = deepcopy(next(one for one in known if one["kind"] == "Deployment"))
    slip["spec"]["selector"]["matchLabels"] = {"app.kubernetes.io/name": "other"}

    accepted = cluster.node.kubectl(*how, stdin=safe_dump_all(known), check=False)
    refused = cluster.node.kubectl(*how, "--force-conflicts", stdin=safe_dump_all([slip]), check=False)

    assert (accepted.exit_code, accepted.stderr) == (0, "")
    assert len(accepted.stdout.splitlines()) == len(known) == 2 * len(KINDS)
    assert "`selector` does not match template `labels`" in refused.stderr


def test_pods_ask_for_tokens_by_https_and_hash_columns_with_what_is_in_secrets(cluster: ClusterProject) -> None:
    """What is missing in the namespace is named with the command that makes it, before anything changes there."""
    before = [pod["metadata"]["name"] for pod in cluster.pods()]
    certificate, key = certified(cluster.node.folder, cluster.node.address_of("model", NAMESPACE))
    cluster.edit(FILE, "access:\n  anyone: true\n\n", "")
    cluster.edit(FILE, "labels: true", "labels: true\n  tls: {certificate: /tls/tls.crt, key: /tls/tls.key}")
    cluster.edit("policy.yaml", "\nserving:\n", "\nprivacy:\n  fields: {flight: hash}\n\nserving:\n")
    cluster.commit("Ask for tokens, by HTTPS")
    cluster.let_in("billing")
    cluster.let_in("planning")

    without_certificate = cluster.mlops("deploy", "staging", check=False)
    cluster.kubectl("create", "secret", "tls", "tls", f"--cert={certificate}", f"--key={key}")
    cluster.kubectl("create", "secret", "generic", "log-key", "--from-literal=log.key=too-short")
    without_key = cluster.mlops("deploy", "staging", check=False)
    untouched = [pod["metadata"]["name"] for pod in cluster.pods()]
    command = without_key.stderr.rpartition("next: ")[2].strip()
    cluster.run("sh", "-c", command)
    cluster.mlops("deploy", "staging")

    assert "the Secret tls of flight-delays-staging does not hold it" in without_certificate.stderr
    assert "create secret tls tls --cert=" in without_certificate.stderr
    assert command.startswith("kubectl --namespace flight-delays-staging delete secret log-key && kubectl")
    assert untouched == before
    asked = (cluster.answers(cluster.flights(1), token) for token in ("mlops_guessed", cluster.tokens["billing"]))
    (guessed, _), (status, answer) = (said for (said,) in asked)
    assert (guessed, status) == (401, 200)
    wait_until(lambda: logged(cluster, answer["id"]) != [], limit_s=90)
    identity, flight, made_here = logged(cluster, answer["id"])
    assert re.search(
        rf"^billing +for good +{identity}$", cluster.mlops("access", "list", "staging").stdout, re.MULTILINE
    )
    assert flight == made_here


def logged(cluster: ClusterProject, answer: str) -> list[str]:
    """What the bucket of the log holds of an answer: who asked and which flight, and the hash of that made here."""
    code = f"""
from slipway.log import masks, predictions
from slipway.settings.project import Project
project = Project.find()
if found := predictions.find(project, {answer!r}):
    hashed = masks.mask_of(project, "staging").hash("flight", {cluster.flights(1)[0]["flight"]!r})
    print(found.identity, found.row["flight"], hashed)
"""
    return cluster.run("python", "-c", code).stdout.split()


def test_a_canary_answers_its_share_which_changes_while_pods_run(cluster: ClusterProject) -> None:
    """From 1 to 50 %, by requests that are the same each time; where it dies, the champion answers in its place.

    Who may ask changes with its share.
    """
    rows = cluster.flights(2_000, range(1, 13))
    with asked_by(cluster.varied_clients()) as clients:
        cluster.challenge("staging", "--version", "2", "--mode", "canary", "--share", "0.01")
        names = [pod["metadata"]["name"] for pod in cluster.pods()]
        few = answered_by(cluster, rows, 2)
        cluster.let_in("billing-2")
        cluster.mlops("access", "remove", "planning", "staging")
        git(cluster.root, "merge", "--quiet", "--no-edit", "access/staging-without-planning")
        cluster.challenge("staging", "--version", "2", "--mode", "canary", "--share", "0.5")
        let_in = {
            name: {status for _ in range(8) for status, _ in cluster.answers(rows[:1], token)}
            for name, token in cluster.tokens.items()
        }
        many = answered_by(cluster, rows, 2)
        same = [pod["metadata"]["name"] for pod in cluster.pods()]
        status = cluster.mlops("status").stdout
        cluster.kubectl("exec", names[0], "--container=challenger", "--", "python", "-c", KILL_SERVERS)
        share_of(clients, 1)
        cluster.challenge("staging", "--end")
        all_hear(clients, 1)

    assert within_chance(len(few), 0.01, len(rows))
    assert within_chance(len(many), 0.5, len(rows))
    assert few < many
    assert same == names
    assert let_in == {"billing": {200}, "planning": {401}, "billing-2": {200}}
    assert "with version 2 as canary of 50%" in status
    assert [client.failures for client in clients] == [[]] * len(clients)
    assert [len(pod["spec"]["containers"]) for pod in cluster.pods()] == [1, 1]


def answered_by(cluster: ClusterProject, rows: list[dict[str, Any]], version: int) -> set[int]:
    """The places of those rows that a version answers, over connections that lead to any pod.

    A row that it does not answer is asked once more: a canary that was slow once is left alone for a second.
    """
    found, token = set[int](), cluster.tokens["billing"]
    for _ in range(2):
        left = [place for place in range(len(rows)) if place not in found]
        for start in range(0, len(left), 50):
            places = left[start : start + 50]
            said = cluster.answers([rows[place] for place in places], token)
            found |= {
                place for place, (_, told) in zip(places, said, strict=True) if told["model"]["version"] == version
            }
    return found


def within_chance(count: int, share: float, of: int) -> bool:
    """Whether so many fit a share, by four standard deviations."""
    return abs(count - of * share) < 4 * math.sqrt(of * share * (1 - share))


def share_of(clients: list[Client], version: int) -> float:
    """The part of the next requests that a version answers."""
    before = [len(client.versions) for client in clients]
    wait_until(lambda: sum(len(client.versions) for client in clients) - sum(before) > 150, limit_s=120)
    heard = [one for client, seen in zip(clients, before, strict=True) for one in client.versions[seen:]]
    return heard.count(version) / len(heard)


def test_what_is_merged_is_pulled_and_what_proves_nothing_leaves_the_old_pods(
    cluster: ClusterProject, tmp_path: Path
) -> None:
    """By a loop in the place of a controller; whoever waits for it cannot enter the cluster."""
    nobody = {"KUBECONFIG": os.devnull}
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "origin")
    git(cluster.root, "remote", "add", "origin", str(tmp_path / "origin"))
    cluster.edit("pyproject.toml", "[tool.mlops]\n", '[tool.mlops]\ndelivery = "flux"\n')
    cluster.edit(OVERLAY, "transformers:", "configMapGenerator: [{name: extra, literals: [a=b]}]\ntransformers:")
    cluster.commit("Let the cluster pull")
    git(cluster.root, "push", "--quiet", "origin", "HEAD:main")
    promoted = cluster.mlops("promote", "staging", "--version", "2", env=nobody).stdout
    git(cluster.root, "merge", "--quiet", "--no-edit", "promote/staging-v2")
    git(cluster.root, "push", "--quiet", "origin", "HEAD:main")
    merged = git(cluster.root, "rev-parse", "--short=9", "HEAD").strip()

    with asked_by(cluster.clients()) as clients, Puller(cluster.node, tmp_path / "origin", FOLDER, tmp_path / "here"):
        looked = time.time()
        deployed = cluster.mlops("deploy", "staging", env=nobody)
        all_hear(clients, 2)
        keep_timeline(cluster, "pull", looked, clients)
        challenge_in_git(cluster, nobody)
        extra, good = cluster.kubectl("get", "configmaps", "-o", "name"), image_of(cluster)
        hooks = cluster.run("prek", "run", "--files", IMAGE, check=False)
        spoil_in_git(cluster)
        wait_until(lambda: "this code cannot serve bundle" in said_by_pods(cluster), limit_s=180)
        before = [len(client.versions) for client in clients]
        wait_until(lambda: all(len(one.versions) > count for one, count in zip(clients, before, strict=True)))
        status = cluster.mlops("status", env=nobody).stdout
        rolled = cluster.mlops("rollback", "staging", env=nobody).stdout
        git(cluster.root, "push", "--quiet", "origin", "HEAD:main")
        wait_until(lambda: images_of(cluster) == {good}, limit_s=120)

    assert "version 2 is proposed for staging" in promoted
    assert hooks.exit_code == 0, hooks.stdout
    assert "staging answers with version 2" in deployed.stdout
    assert "should run version 2, runs version 2" in status
    assert f"by commit {merged}" in status
    assert "committed: staging names version 2 again" in rolled
    assert ("extra" in extra, "extra" in cluster.kubectl("get", "configmaps", "-o", "name")) == (True, False)
    assert [client.failures for client in clients] == [[]] * 4
    assert all({*client.versions} <= {1, 2} and client.versions[-1] == 2 for client in clients)
    cluster.edit("pyproject.toml", 'delivery = "flux"\n', "")
    git(cluster.root, "remote", "remove", "origin")
    cluster.commit("Deploy by hand again")
    cluster.release("staging", "--version", "1")


def challenge_in_git(cluster: ClusterProject, nobody: dict[str, str]) -> None:
    """Let version 1 answer half of the requests beside version 2, until another commit ends that."""
    with asked_by(cluster.varied_clients()) as clients:
        said = pull_challenge(cluster, nobody, "--version", "1", "--mode", "canary", "--share", "0.5")
        half = share_of(clients, 1)
        # A pod says that it is there within half a minute of its start.
        told = "canary of 50% version 1"
        wait_until(lambda: cluster.mlops("status", env=nobody).stdout.count(told) == 2, limit_s=60)
        beside = [len(pod["spec"]["containers"]) for pod in cluster.pods()]
        pull_challenge(cluster, nobody, "--end")
        all_hear(clients, 2)

    assert "version 1 challenges it: canary of 50%" in said
    assert 0.3 < half < 0.7
    assert [client.failures for client in clients] == [[]] * len(clients)
    assert (beside, [len(pod["spec"]["containers"]) for pod in cluster.pods()]) == ([2, 2], [1, 1])
    assert "canary" not in cluster.kubectl("get", "deployment", "model", "-o", "json")


def pull_challenge(cluster: ClusterProject, nobody: dict[str, str], *options: str) -> str:
    """Merge what `mlops challenge` proposes, in one commit of both files, and wait until the cluster has pulled it."""
    branch = re.search(r"in branch (\S+)", cluster.mlops("challenge", "staging", *options, env=nobody).stdout)
    assert branch is not None
    assert set(git(cluster.root, "diff", "--name-only", "HEAD", branch[1]).split()) == {FILE, IMAGE}
    git(cluster.root, "merge", "--quiet", "--no-edit", branch[1])
    git(cluster.root, "push", "--quiet", "origin", "HEAD:main")
    return cluster.mlops("deploy", "staging", env=nobody).stderr


def spoil_in_git(cluster: ClusterProject) -> None:
    """Merge what names an image that answers wrongly, and send it to where the cluster pulls; the extra object goes."""
    good, bad = image_of(cluster), spoilt(cluster)
    cluster.name_image(bad)
    cluster.edit(IMAGE, good.rpartition("@")[2], bad.rpartition("@")[2])
    cluster.edit(OVERLAY, "configMapGenerator: [{name: extra, literals: [a=b]}]\n", "")
    cluster.commit("Name it in the overlay, too")
    git(cluster.root, "push", "--quiet", "origin", "HEAD:main")


def images_of(cluster: ClusterProject) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in cluster.pods()}


def said_by_pods(cluster: ClusterProject) -> str:
    """What pods that were started again had to say before: the log of what ended does not stay for long."""
    states = [one["lastState"] for pod in cluster.pods() for one in pod["status"].get("containerStatuses", [])]
    return "".join(state["terminated"].get("message", "") for state in states if "terminated" in state)


def test_moving_away_leaves_nothing_in_the_cluster(cluster: ClusterProject) -> None:
    """Staging is a process of this machine afterwards."""
    cluster.edit(FILE, "target: kubernetes", "target: native")
    cluster.edit(FILE, "  tls: {certificate: /tls/tls.crt, key: /tls/tls.key}\n", "")
    cluster.commit("Run staging as a process again")

    moved = cluster.mlops("deploy", "staging").stderr
    answered = cluster.request("GET", "/version").body["version"]
    cluster.mlops("stop", "staging")

    assert "kubernetes has stopped: native answers for staging now" in moved
    assert answered == 1
    assert cluster.pods() == []
    assert cluster.kubectl("get", "deployments,services,networkpolicies", "-o", "name") == ""
    assert "model" not in cluster.kubectl("get", "configmaps", "-o", "name")


def test_in_containers_the_machine_uploads_what_is_logged(cluster: ClusterProject) -> None:
    """Containers of Compose reach no network: `mlops upload --follow` beside them does, and says what is served."""
    with_proxy(cluster.engine)
    cluster.edit(FILE, "target: native", "target: compose")
    cluster.commit("Run staging in containers of this machine")
    cluster.mlops("deploy", "staging")
    answer = cluster.request("POST", "/predict", cluster.flights(1)[0], token=cluster.tokens["billing"]).body["id"]

    spool = cluster.root / ".mlops" / "predictions" / "staging"
    waiting = [path.name for path in spool.glob("*.segment")]
    with cluster.started("upload", "staging", "--follow") as uploading:
        wait_until(lambda: not [*spool.glob("*.segment"), *spool.glob("*.closed")], limit_s=90)
        traced, told = cluster.mlops("trace", answer).stdout, cluster.mlops("status").stdout
        uploading.terminate()
        ended = uploading.wait(timeout=60)
    cluster.mlops("stop", "staging")

    assert (bool(waiting), ended) == (True, 0)
    assert "flight-delays version 1" in traced
    assert f"{socket.gethostname()}, champion version 1" in told
