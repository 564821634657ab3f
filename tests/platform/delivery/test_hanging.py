"""A server process that hangs: it is noticed by its silence, ended, and started again; and `status` asks."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from running import free_port
from slipway.base import http
from slipway.delivery import deploy, overview, processes
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.processes import Group, open_listener
from slipway.delivery.target import Run
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from targets import ONE, names, plugged, quiet

__all__ = ["names", "plugged"]

#: Servers as an earlier release has them, which never tell that they live.
SILENT = """\
import json, socket, sys, time
link = socket.socket(fileno=json.loads(sys.argv[1])["link"])
if READY:
    link.sendall(b'{"event": "ready"}\\n')
time.sleep(600)
"""


@pytest.fixture
def run(project: Project, sealed: Bundle) -> Run:
    return Run(
        environment="test", version=1, digest=sealed.digest, commit="", bundle=str(sealed.path),
        python=sys.executable, host="127.0.0.1", port=free_port(), source="cache", limits=project.policy.serving,
    )  # fmt: skip


@contextmanager
def started(project: Project, run: Run) -> Iterator[Group]:
    """The processes of a run, ended when the block is."""
    listener = open_listener(run)
    group = Group(run, listener, EnvironmentFolder(project.state, run.environment))
    try:
        yield group
    finally:
        group.kill()
        listener.close()


def keep_until(group: Group, is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    """Do what a supervisor does, until something is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        group.keep()
        time.sleep(processes.TICK_S)


def of_an_earlier_release(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_ready: bool) -> Run:
    (folder / "earlier_server.py").write_text(SILENT.replace("READY", str(is_ready)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return msgspec.structs.replace(run, program="earlier_server")


def test_a_server_that_hangs_is_ended_and_another_answers(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "HUNG_AFTER_S", 1.8)
    with started(project, run) as group:
        keep_until(group, lambda: group.is_ready)
        (hung,) = group.pids()
        for _ in range(50):  # as long as one that is well is left alone
            group.keep()
            time.sleep(processes.TICK_S)
        assert group.pids() == [hung]

        os.kill(hung, signal.SIGSTOP)
        keep_until(group, lambda: group.restarts == 1 and group.is_ready)

        assert http.ask(run.host, run.port, "/ready").status == 200
    assert f"server {hung} hangs: it has been silent for 2 seconds, and is ended" in capfd.readouterr().err


def test_a_server_that_hangs_before_it_is_ready_is_ended(
    project: Project, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_S", 0.5)
    with started(project, of_an_earlier_release(run, tmp_path, monkeypatch, is_ready=False)) as group:
        keep_until(group, lambda: group.restarts == 1)


def test_a_server_of_an_earlier_release_is_left_alone(
    project: Project, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HUNG_AFTER_S", 0.2)
    with started(project, of_an_earlier_release(run, tmp_path, monkeypatch, is_ready=True)) as group:
        keep_until(group, lambda: group.is_ready)
        until = time.monotonic() + 1
        keep_until(group, lambda: time.monotonic() > until)

        assert group.restarts == 0


def test_a_time_in_which_nobody_looked_is_no_silence(
    project: Project, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole machine was stopped, and goes on."""
    monkeypatch.setattr(processes, "START_S", 1.5)
    with started(project, of_an_earlier_release(run, tmp_path, monkeypatch, is_ready=False)) as group:
        time.sleep(2)
        group.keep()

        assert group.pids() and not group.is_hung


@pytest.mark.usefixtures("plugged")
def test_status_tells_of_a_server_that_does_not_answer(
    project: Project, names: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names("one")
    deploy.deploy(project, "staging", quiet)
    well = overview.describe(project, "staging")
    monkeypatch.setattr(overview, "PATIENCE_S", 0.2)
    ONE.hang()

    assert "does not answer" not in well
    assert ", but does not answer at 127.0.0.1:" in overview.describe(project, "staging")
