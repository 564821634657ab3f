"""A server process and its listening socket, seen from the supervisor."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .errors import MlopsError
from .native import PACKAGE, Assignment, Run

RETRY_S = 0.05


class Report(msgspec.Struct, frozen=True):
    """What a server says on its link; unknown events of other versions are passed over."""

    event: str
    problem: str = ""
    next_step: str = ""


class ServerProcess:
    """A server that was started, and what it has reported since."""

    def __init__(self, run: Run, listener: socket.socket, state: Path) -> None:
        self.run = run
        self.listener = listener
        self.born = time.monotonic()
        self.since = datetime.now(UTC)
        self.is_ready = False
        self.is_accepting = True
        self.failure: Report | None = None
        self._heard = b""
        self._link, theirs = socket.socketpair()
        self._link.setblocking(False)
        with theirs:
            fds = (listener.fileno(), theirs.fileno())
            task = msgspec.json.encode(Assignment(run=run, state=str(state), fd=fds[0], link=fds[1]))
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [run.python, "-P", "-m", f"{PACKAGE}.mlops.server", task.decode()],
                cwd=state,
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
            )
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; `None` while it lives."""
        return self._process.poll()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    def listen_to(self) -> None:
        """Take in what it has said since."""
        try:
            self._heard += self._link.recv(65_536)
        except (BlockingIOError, ConnectionResetError):
            return
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            report = msgspec.json.decode(line, type=Report)
            if report.event == "ready":
                self.is_ready = True
            elif report.event == "draining":
                self.is_accepting = False
            elif report.event == "failed":
                self.failure = report

    def terminate(self) -> None:
        """Ask it to finish what it has and go."""
        self._process.terminate()

    def bury(self) -> None:
        """Make sure that it is gone."""
        self._process.kill()
        self._process.wait()
        self._link.close()


def open_listener(run: Run, patience_s: float = 3) -> socket.socket:
    """Listen where `run` wants to.

    A supervisor that was killed leaves a worker that needs a moment to notice and let go, so a
    taken address is tried again for a while.
    """
    family = socket.AF_INET6 if ":" in run.host else socket.AF_INET
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return socket.create_server((run.host, run.port), family=family, backlog=2048)
        except OSError as error:
            if time.monotonic() > give_up_at:
                raise MlopsError(
                    f"another process holds {run.host}:{run.port} ({os.strerror(error.errno or 0)})",
                    f"stop it, or change serve.port in deploy/environments/{run.environment}.yaml",
                ) from None
            time.sleep(RETRY_S)
