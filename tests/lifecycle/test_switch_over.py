"""Changing the version that answers, and losing a server, while clients keep asking."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import asking, port, state, two_answers_later, wait_until
from running import RunningProject, give_free_ports

# One project for all tests of this module, so one worker runs them.
pytestmark = pytest.mark.xdist_group("switch over")


@pytest.fixture(scope="module")
def served(trained_twice: RunningProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProject]:
    """A project with two versions, the first of them serving staging. Each test leaves some version serving."""
    project = trained_twice.copy(tmp_path_factory.mktemp("served") / "flights")
    give_free_ports(project.root)
    # All clients of a test share one address; how many of them there may be is another test's question.
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    project.commit("Listen on ports of its own, to as many clients as there are")
    project.release("staging", "--version", "1")
    yield project
    project.stop()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def switch(project: RunningProject, *, timeout_s: float = 20, **changes: object) -> str:
    """Ask the native target for what runs now, with some facts changed; returns what it complains about."""
    code = (
        "import sys; from msgspec.structs import replace;"
        "from slipway.delivery import target; from slipway.settings.project import Project;"
        "project, native = Project.find(), target.find('native'); run = native.status(project, 'staging').run;"
        f"\ntry: native.switch(project, replace(run, **{changes!r}), timeout_s={timeout_s})"
        "\nexcept Exception as error: sys.exit(str(error))"
    )
    return project.run("python", "-c", code, check=False).stderr


def test_no_request_fails_while_versions_change(served: RunningProject) -> None:
    with asking(served) as clients:
        served.release("staging")
        in_between = two_answers_later(clients)
        served.mlops("rollback", "staging")
        two_answers_later(clients)

    assert [client.failures for client in clients] == [[], [], [], []]
    for client, changed_at in zip(clients, in_between, strict=True):
        assert [client.versions[0], client.versions[changed_at], client.versions[-1]] == [1, 2, 1]


def test_a_killed_server_comes_back(served: RunningProject) -> None:
    killed = state(served)["worker"]

    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: state(served)["worker"] not in (killed, None))
    assert served.request("GET", "/ready").status == 200
    assert state(served)["restarts"] >= 1


def test_deploying_what_already_runs_changes_no_process(served: RunningProject) -> None:
    before = state(served)

    result = served.mlops("deploy", "staging")

    assert f"version {before['run']['version']} already answers" in result.stderr
    assert state(served)["worker"] == before["worker"]


def test_a_bundle_with_a_flipped_byte_is_refused_and_the_old_version_stays(
    served: RunningProject, tmp_path: Path
) -> None:
    before = state(served)["run"]
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in Path(before["bundle"]).iterdir():
        (bundle / path.name).write_bytes(path.read_bytes())
    model = bytearray((bundle / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(model)

    with asking(served) as clients:
        complaint = switch(served, bundle=str(bundle), version=99)

    assert "version 99 was not deployed to staging" in complaint
    assert "model.onnx was changed after the bundle was sealed" in complaint
    assert f"version {before['version']} goes on serving" in complaint
    assert [client.failures for client in clients] == [[], [], [], []]
    assert served.request("GET", "/version").body["version"] == before["version"]


def test_a_server_that_does_not_start_is_given_up(served: RunningProject, tmp_path: Path) -> None:
    """Its interpreter hangs, as a process on a sick machine does."""
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    hanging.chmod(0o755)

    complaint = switch(served, timeout_s=3, python=str(hanging), version=99)

    assert "it was not ready within 3 seconds" in complaint
    assert served.request("GET", "/ready").status == 200


def test_an_address_that_somebody_else_holds_is_told(served: RunningProject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]

        complaint = switch(served, port=taken)

    assert f"another process holds 127.0.0.1:{taken}" in complaint
    assert "next: stop it, or change serve.port in deploy/environments/staging.yaml" in complaint
    assert served.request("GET", "/ready").status == 200


def test_an_address_can_change_without_a_gap(served: RunningProject) -> None:
    old = port(served)
    give_free_ports(served.root)
    served.commit("Move to another port")

    served.mlops("deploy", "staging")

    assert served.request("GET", "/ready").status == 200
    wait_until(lambda: not is_open(old))


def test_after_a_killed_supervisor_the_next_deploy_starts_clean(served: RunningProject) -> None:
    before = state(served)

    os.kill(before["supervisor"], signal.SIGKILL)
    served.mlops("deploy", "staging")

    after = state(served)
    assert after["phase"] == "serving"
    assert after["supervisor"] != before["supervisor"]
    assert served.request("GET", "/ready").status == 200
    wait_until(lambda: not is_running(before["worker"]))


def test_stopping_answers_the_last_request_and_leaves_nothing(served: RunningProject) -> None:
    before = state(served)

    result = served.mlops("stop", "staging")

    assert result.stdout == "staging stopped\n"
    assert not is_running(before["worker"])
    assert "staging was not running" in served.mlops("stop", "staging").stdout
    served.mlops("deploy", "staging")
