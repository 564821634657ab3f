"""Deploying to containers: what runs is what was tried, nothing is lost while it changes, nobody else gets in."""

import json
import os
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
from clients import asking, metric, port, recorded, two_answers_later, versions, wait_until
from containers import ContainerProject
from rendering import git
from running import give_free_ports

edge = pytest.mark.edge

REVISION = "org.opencontainers.image.revision"


@pytest.fixture(scope="module")
def deployed(shipped: ContainerProject) -> Iterator[ContainerProject]:
    """Version 1 answers in staging, and version 2 has an image. Each test leaves some version answering."""
    before = git(shipped.root, "rev-parse", "HEAD").strip()
    shipped.release("staging")
    shipped.train_another(trees=20)
    shipped.ship()
    yield shipped
    shipped.mlops("stop", "staging")
    git(shipped.root, "reset", "--quiet", "--hard", before)


def image_of(project: ContainerProject) -> str:
    """The image that staging's file names."""
    found = re.search(r"image: (\S+)", (project.root / "deploy/environments/staging.yaml").read_text("utf-8"))
    assert found is not None
    return found[1]


def by_hand(project: ContainerProject, name: str, *labels: str, change: str = "ENV CHANGED=1") -> str:
    """Push an image that somebody has made of the one that runs; return its name by digest."""
    words = [word for label in labels for word in ("--label", label)]
    project.engine.docker("build", "--tag", name, *words, "-", stdin=f"FROM {image_of(project)}\n{change}\n")
    told = project.engine.docker("push", name).stdout
    digest = re.search(r"sha256:[0-9a-f]{64}", told)
    assert digest is not None
    return f"{name.rpartition(':')[0]}@{digest[0]}"


def test_no_request_fails_while_versions_change_three_times(deployed: ContainerProject) -> None:
    with asking(deployed) as clients:
        deployed.release("staging")
        first = [len(client.versions) for client in clients]
        deployed.mlops("rollback", "staging")
        second = [len(client.versions) for client in clients]
        git(deployed.root, "revert", "--no-edit", "HEAD")
        deployed.mlops("deploy", "staging")
        third = [len(client.versions) + 2 for client in clients]
        wait_until(lambda: all(len(c.versions) >= count for c, count in zip(clients, third, strict=True)))

    assert [client.failures for client in clients] == [[], [], [], []]
    for client, one, two in zip(clients, first, second, strict=True):
        changes = [client.versions[0], client.versions[one], client.versions[two], client.versions[-1]]
        assert changes == [1, 2, 1, 2]


def test_deploying_what_already_runs_changes_no_container(deployed: ContainerProject) -> None:
    before = deployed.serving()["Id"]

    result = deployed.mlops("deploy", "staging")

    assert "version 2 already answers" in result.stderr
    assert deployed.serving()["Id"] == before


@edge("E13", "container registry ↔ serving")
def test_what_is_deployed_is_the_digest_that_was_tried(deployed: ContainerProject) -> None:
    """E13: the container runs the image that the file names, by its digest."""
    server = deployed.serving()

    assert server["Config"]["Image"] == image_of(deployed)
    image = json.loads(deployed.engine.docker("inspect", image_of(deployed)).stdout)[0]
    assert server["Image"] == image["Id"]


@edge("E13", "container registry ↔ serving", fault="another image is pushed under the same tag")
def test_another_image_under_the_same_tag_changes_nothing_that_runs(deployed: ContainerProject) -> None:
    """E13, cut: somebody pushes other bytes under the tag of the image that runs."""
    before = deployed.serving()
    label = f"{REVISION}={git(deployed.root, 'rev-parse', 'HEAD').strip()}"
    tags = json.loads(deployed.engine.docker("inspect", image_of(deployed)).stdout)[0]["RepoTags"]

    other = by_hand(deployed, tags[0], label)
    deployed.mlops("deploy", "staging")
    deployed.mlops("stop", "staging")
    deployed.mlops("deploy", "staging")

    assert other != image_of(deployed)
    assert deployed.serving()["Image"] == before["Image"]


@edge("E7", "version control ↔ container registry", fault="an environment names an image of other code")
@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        (f"{REVISION}=", "does not name the commit it was made from"),
        (f"{REVISION}={'0' * 40}", "holds the code of commit 000000000000, which is not the code of"),
    ],
    ids=["no commit", "another commit"],
)
def test_an_image_of_other_code_is_not_deployed(deployed: ContainerProject, label: str, complaint: str) -> None:
    """E7: from the image back to the commit."""
    before, head = deployed.serving()["Id"], git(deployed.root, "rev-parse", "HEAD").strip()

    deployed.name_image(by_hand(deployed, f"{deployed.image}:by-hand", label))
    result = deployed.mlops("deploy", "staging", check=False)
    git(deployed.root, "reset", "--quiet", "--hard", head)

    assert result.exit_code == 1
    assert complaint in result.stderr
    assert deployed.serving()["Id"] == before


def test_a_server_that_answers_no_question_gives_its_place_back(deployed: ContainerProject) -> None:
    """It is ready, so it gets the requests; then the deployment's own question shows that it cannot answer."""
    before, head = deployed.serving()["Image"], git(deployed.root, "rev-parse", "HEAD").strip()
    spoil = "sed -i 's/self._admit(request)$/1 \\/ 0/' /project/vendor/slipway/src/slipway/serving/endpoint.py"
    label = f"{REVISION}={head}"

    deployed.name_image(
        by_hand(deployed, f"{deployed.image}:mute", label, change=f"USER root\nRUN {spoil}\nUSER 10001:10001")
    )
    result = deployed.mlops("deploy", "staging", check=False)
    git(deployed.root, "reset", "--quiet", "--hard", head)

    assert result.exit_code == 1
    assert "the deployed server does not answer with version 2" in result.stderr
    assert "next: read its log: docker compose --project-name flight-delays-staging logs" in result.stderr
    assert "version 2 takes over again" in result.stderr
    assert deployed.serving()["Image"] == before
    assert deployed.request("POST", "/predict", deployed.flights(1)[0]).status == 200
    ledger = (deployed.root / ".mlops" / "ledger.jsonl").read_text("utf-8").splitlines()
    assert json.loads(ledger[-1])["outcome"] == "taken back"


def test_a_version_without_an_image_is_not_promoted(deployed: ContainerProject) -> None:
    with closing(sqlite3.connect(deployed.root / ".mlops" / "mlflow.db")) as store:
        store.execute("update model_version_tags set key = 'hidden' where key = 'image'")
        store.commit()
        result = deployed.mlops("promote", "staging", "--version", "1", check=False)
        store.execute("update model_version_tags set key = 'image' where key = 'hidden'")
        store.commit()

    assert result.exit_code == 1
    assert "version 1 has no image, and compose runs staging from one" in result.stderr
    assert "mlops build --push" in result.stderr
    assert deployed.mlops("promote", "staging", "--version", "1").exit_code == 0


#: Makes a copy of the bundle that runs, with another last byte in its model, and deploys it as `switch` says.
DAMAGED = """
import shutil, sys
from msgspec.structs import replace
from slipway.delivery.compose import target as compose
from slipway.delivery.target import Rival
from slipway.settings.project import Project

project = Project.find()
run = compose.status(project, "staging").run
folder = project.state / "damaged"
shutil.copytree(run.bundle, folder)
model = folder / "model.onnx"
model.write_bytes(model.read_bytes()[:-1] + b"!")
bad = replace(run, bundle=str(folder), version=99)
try:
    SWITCH
except Exception as error:
    sys.exit(str(error))
finally:
    shutil.rmtree(folder)
"""


def test_a_damaged_bundle_is_refused_and_the_old_version_stays(deployed: ContainerProject) -> None:
    before = deployed.serving()["Id"]
    code = DAMAGED.replace("SWITCH", "compose.switch(project, bad)")
    with asking(deployed) as clients:
        complaint = deployed.run("python", "-c", code, check=False).stderr

    assert "version 99 was not deployed to staging" in complaint
    assert "model.onnx was changed after the bundle was sealed" in complaint
    assert "version 2 goes on serving" in complaint
    assert [client.failures for client in clients] == [[], [], [], []]
    assert deployed.serving()["Id"] == before


def test_a_killed_server_comes_back(deployed: ContainerProject) -> None:
    before = deployed.serving()["State"]

    os.kill(before["Pid"], signal.SIGKILL)

    wait_until(lambda: deployed.serving()["State"]["Pid"] not in (0, before["Pid"]))
    wait_until(lambda: deployed.request("GET", "/ready").status == 200)


@pytest.mark.parametrize("after_s", [5, 8])
def test_a_deployment_killed_at_any_moment_is_finished_by_the_next(deployed: ContainerProject, after_s: float) -> None:
    deployed.mlops("rollback", "staging")
    git(deployed.root, "revert", "--no-edit", "HEAD")
    with asking(deployed) as clients:
        deployed.kill_after(after_s, "deploy", "staging")
        deployed.mlops("deploy", "staging")

    assert [client.failures for client in clients] == [[], [], [], []]
    assert deployed.request("GET", "/version").body["version"] == 2
    assert deployed.serving()["State"]["Running"]


def test_an_address_that_somebody_else_holds_is_told(deployed: ContainerProject) -> None:
    head = git(deployed.root, "rev-parse", "HEAD").strip()
    taken = deployed.image.partition("/")[0].rpartition(":")[2]
    deployed.edit("deploy/environments/staging.yaml", f"port: {port(deployed)}", f"port: {taken}")
    deployed.commit("Move to a port that is taken")

    result = deployed.mlops("deploy", "staging", check=False)
    git(deployed.root, "reset", "--quiet", "--hard", head)

    assert f"another process holds 127.0.0.1:{taken}" in result.stderr
    assert deployed.request("GET", "/ready").status == 200


def test_servers_are_confined_and_only_the_proxy_can_be_reached(deployed: ContainerProject) -> None:
    server, proxy = deployed.serving(), deployed.container("proxy")
    assert proxy is not None

    assert server["HostConfig"]["ReadonlyRootfs"] is True
    assert server["HostConfig"]["CapDrop"] == ["ALL"]
    assert server["Config"]["User"] == "10001:10001"
    assert server["HostConfig"]["PortBindings"] in ({}, None)
    assert [one["HostIp"] for one in proxy["HostConfig"]["PortBindings"]["8000/tcp"]] == ["127.0.0.1"]
    networks = [
        deployed.engine.docker("network", "inspect", name).stdout for name in server["NetworkSettings"]["Networks"]
    ]
    assert [json.loads(network)[0]["Internal"] for network in networks] == [True]


def test_answers_are_recorded_where_monitoring_and_tracing_read_them(deployed: ContainerProject) -> None:
    rows = deployed.flights(300)
    answer = deployed.request("POST", "/predict", rows[0]).body
    deployed.request("POST", "/predict", {"rows": rows})

    traced = deployed.mlops("trace", answer["id"]).stdout
    report = json.loads(deployed.mlops("monitor", "staging", "--json", check=False).stdout)

    assert "flight-delays version 2" in traced
    assert report["predictions"] >= 300


def test_a_hidden_column_is_hidden_in_containers_too(deployed: ContainerProject) -> None:
    """And what clients say that happened is recorded on the machine, not in a container."""
    head = git(deployed.root, "rev-parse", "HEAD").strip()
    deployed.edit("policy.yaml", "fields: {}", "fields: {flight: hash, dest: drop}")
    deployed.edit("deploy/environments/staging.yaml", "  workers: 1", "  workers: 1\n  labels: true")
    deployed.edit("policy.yaml", "key: [departs, carrier, flight, origin]", "key: [id]")
    deployed.commit("Hide two columns from the log, and take labels")

    deployed.mlops("deploy", "staging")
    answers = [deployed.request("POST", "/predict", row).body["id"] for row in deployed.flights(1) * 2]
    wait_until(lambda: answers[1] in recorded(deployed, "champion"))
    told = deployed.request("POST", "/labels", {"id": answers[0], "arr_delay": 95})
    traced = deployed.mlops("trace", answers[0]).stdout
    git(deployed.root, "reset", "--quiet", "--hard", head)
    deployed.mlops("deploy", "staging", "--force")  # an older commit, which is refused otherwise

    first, second = (recorded(deployed, "champion")[answer]["row"] for answer in answers)
    assert first["flight"].startswith("hmac:")
    assert first["flight"] == second["flight"]
    assert "dest" not in first
    assert (told.status, told.body) == (200, {"accepted": 1})
    assert "label             1, by posted:1 of " in traced


def test_challengers_come_change_and_go_and_no_request_fails(deployed: ContainerProject) -> None:
    """Version 1 challenges version 2, in a container of its own that only the champion reaches."""
    before, rows = deployed.serving()["Id"], deployed.flights(200)
    with asking(deployed) as clients:
        deployed.challenge("staging", "--version", "1", "--mode", "canary", "--share", "0.3")
        shared, challenger = Counter(versions(deployed, rows)), deployed.container("challenger")
        deployed.challenge("staging", "--version", "1", "--mode", "shadow")
        ids = {deployed.request("POST", "/predict", row).body["id"] for row in rows[:20]}
        wait_until(lambda: recorded(deployed, "shadow").keys() >= ids)
        changed = deployed.container("challenger")
        told = deployed.mlops("status").stdout
        deployed.challenge("staging", "--end")
        two_answers_later(clients)

    assert [client.failures for client in clients] == [[], [], [], []]
    assert set(shared) == {1, 2}
    assert 30 <= shared[1] <= 90
    assert {line["version"] for line in recorded(deployed, "challenger").values()} == {1}
    assert {recorded(deployed, "shadow")[one]["version"] for one in ids} == {1}
    assert challenger is not None
    assert changed is not None
    assert changed["Id"] == challenger["Id"], "another part of the requests started the challenger again"
    assert "runs version 2" in told
    assert "with version 1 as shadow of 100%" in told
    assert deployed.serving()["Id"] == before
    assert deployed.container("challenger") is None
    assert set(versions(deployed, rows[:20])) == {2}


def test_a_killed_challenger_fails_no_request_and_comes_back(deployed: ContainerProject) -> None:
    deployed.challenge("staging", "--version", "1", "--mode", "canary", "--share", "1")
    challenger = deployed.container("challenger")
    assert challenger is not None

    with asking(deployed) as clients:
        two_answers_later(clients)
        os.kill(challenger["State"]["Pid"], signal.SIGKILL)
        wait_until(lambda: clients[0].versions[-1] == 2)
        wait_until(lambda: clients[0].versions[-1] == 1)
    again = deployed.container("challenger")
    deployed.challenge("staging", "--end")

    assert [client.failures for client in clients] == [[], [], [], []]
    assert again is not None
    assert (again["Id"], again["RestartCount"]) == (challenger["Id"], 1)


def test_a_challenger_that_cannot_start_is_told_and_the_champion_stays(deployed: ContainerProject) -> None:
    as_challenger = "replace(bad, role='challenger', port=0, host='environments/staging/v99.sock')"
    switch = f"compose.switch(project, run, Rival(run={as_challenger}, mode='shadow', share=1))"
    code = DAMAGED.replace("SWITCH", switch)
    before = deployed.serving()["Id"]

    complaint = deployed.run("python", "-c", code, check=False).stderr

    assert "version 99 was not deployed to staging" in complaint
    assert "model.onnx was changed after the bundle was sealed; version 2 goes on serving" in complaint
    assert deployed.serving()["Id"] == before
    assert deployed.container("challenger") is None
    assert set(versions(deployed, deployed.flights(5))) == {2}


def test_each_of_several_workers_answers_and_their_counts_are_one(deployed: ContainerProject) -> None:
    head = git(deployed.root, "rev-parse", "HEAD").strip()
    deployed.edit("deploy/environments/staging.yaml", "workers: 1", "workers: 2")
    deployed.commit("Serve with two workers")
    deployed.mlops("deploy", "staging")
    listed = deployed.engine.docker("top", deployed.serving()["Id"], "-eo", "pid,args").stdout
    before = metric(deployed, 'mlops_predictions_total{version="2"}')
    versions(deployed, deployed.flights(40))

    wait_until(lambda: metric(deployed, 'mlops_predictions_total{version="2"}') == before + 40)
    git(deployed.root, "reset", "--quiet", "--hard", head)
    deployed.mlops("deploy", "staging", "--force")  # an older commit, which is refused otherwise

    assert listed.count("slipway.serving.run") == 2


def test_one_line_moves_an_environment_to_another_target_and_back(deployed: ContainerProject) -> None:
    row = deployed.flights(1)[0]
    before = deployed.request("POST", "/predict", row).body

    with deployed.changed("deploy/environments/staging.yaml", "target: compose", "target: native"):
        status = deployed.mlops("status").stdout
        there = deployed.mlops("deploy", "staging")
        on_the_machine = deployed.request("POST", "/predict", row).body
        containers = [deployed.container(name) for name in ("proxy", "blue", "green")]
    back = deployed.mlops("deploy", "staging", "--force")  # `changed` goes back to the commit of before
    in_a_container = deployed.request("POST", "/predict", row).body

    assert ", on compose, and its file says native" in status
    assert "compose stops first, as native needs its port" in there.stderr
    assert "compose has stopped: native answers for staging now" in there.stderr
    assert containers == [None, None, None]
    assert "native has stopped: compose answers for staging now" in back.stderr
    assert deployed.serving()["State"]["Running"] is True
    for answer in (on_the_machine, in_a_container):
        assert (answer["late"], answer["model"]) == (before["late"], before["model"])


def test_an_address_can_change(deployed: ContainerProject) -> None:
    give_free_ports(deployed.root)
    deployed.commit("Listen elsewhere")

    deployed.mlops("deploy", "staging")

    assert deployed.request("GET", "/ready").status == 200


def test_stopping_leaves_no_container_and_deploying_begins_anew(deployed: ContainerProject) -> None:
    result = deployed.mlops("stop", "staging")

    assert result.stdout == "staging stopped\n"
    assert [deployed.container(name) for name in ("proxy", "blue", "green")] == [None, None, None]
    assert "staging was not running" in deployed.mlops("stop", "staging").stdout
    assert "staging     should run version 2, runs nothing" in deployed.mlops("status").stdout
    deployed.mlops("deploy", "staging")
    assert "runs version 2" in deployed.mlops("status").stdout
