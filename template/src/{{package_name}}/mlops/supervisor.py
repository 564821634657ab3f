"""The process that keeps one environment's server alive and changes it without losing a request.

It owns the listening socket, so the address stays open while servers come and go: connections
wait in the socket's queue, and whichever server is ready takes them. It answers no request itself.
Run by `native.switch` as `python -m <package>.mlops.supervisor ROOT ENVIRONMENT`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

import filelock

from .errors import MlopsError
from .native import Desired, Place, Run, State
from .process import ServerProcess, open_listener

TICK_S = 0.05

#: Longer than a worker takes to drain and to finish its last request.
KILL_AFTER_S = 20
MAX_BACKOFF_S = 30
STABLE_AFTER_S = 60


class Supervisor:
    """Turns wishes into running servers. Every `step` looks at what is true and does the next thing."""

    def __init__(self, place: Place) -> None:
        self.is_stopping = False
        self._place = place
        self._wish: Desired | None = None
        self._candidate: ServerProcess | None = None
        self._serving: ServerProcess | None = None
        self._leaving: dict[ServerProcess, float] = {}
        self._failure: tuple[str, str] | None = None
        self._restarts = 0
        self._backoff_s = 0.0
        self._restart_at: float | None = None
        self._written: State | None = None
        self._can_write = True

    def run(self) -> None:
        """Work until there is nothing to run any more."""
        while not self.is_stopping:
            self.step()
            if not (self._candidate or self._serving or self._leaving):
                return
            time.sleep(TICK_S)
        self._leave()

    def step(self) -> None:
        """Look at the wish and at every process, act on it, and write down what is true now."""
        self._obey()
        if self.is_stopping:
            return
        self._judge_candidate()
        self._keep_serving()
        self._see_off()
        self._write_state()

    def _obey(self) -> None:
        wish = self._place.desired()
        if wish is None:
            self.is_stopping = True
            return
        if self._wish and wish.ticket == self._wish.ticket:
            return
        self._wish, self._failure = wish, None
        self._drop_candidate()
        serving = self._serving
        if serving and serving.run.matches(wish.run) and serving.is_ready and serving.is_alive:
            return
        try:
            listener = self._listener(wish.run)
        except MlopsError as error:
            self._failure = (error.problem, error.next_step)
            return
        try:
            self._candidate = ServerProcess(wish.run, listener, self._place.state)
        except OSError as error:
            self._close_unused(listener)
            self._failure = (f"its process cannot be started: {error}", "mend this and deploy again")

    def _listener(self, run: Run) -> socket.socket:
        """The open socket when the address is the same, a new one otherwise."""
        if self._serving and (self._serving.run.host, self._serving.run.port) == (run.host, run.port):
            return self._serving.listener
        return open_listener(run)

    def _judge_candidate(self) -> None:
        candidate, wish = self._candidate, self._wish
        if candidate is None or wish is None:
            return
        is_alive = candidate.is_alive  # asked first: what it said before it died is then already here
        candidate.listen_to()
        if candidate.is_ready and is_alive:
            self._promote(candidate)
            return
        late = time.monotonic() > candidate.born + wish.timeout_s
        if is_alive and not late:
            return
        self._drop_candidate()
        self._failure = _reason(candidate, f"it was not ready within {wish.timeout_s:g} seconds", self._place)

    def _drop_candidate(self) -> None:
        if self._candidate:
            self._candidate.bury()
            self._close_unused(self._candidate.listener)
            self._candidate = None

    def _close_unused(self, listener: socket.socket) -> None:
        if self._serving is None or self._serving.listener is not listener:
            listener.close()

    def _promote(self, candidate: ServerProcess) -> None:
        old, self._serving, self._candidate = self._serving, candidate, None
        self._restarts, self._backoff_s, self._restart_at = 0, 0.0, None
        if old is not None:
            old.terminate()
            self._leaving[old] = time.monotonic() + KILL_AFTER_S

    def _keep_serving(self) -> None:
        """Start the server again when it has ended, later each time that it ends early."""
        serving = self._serving
        if serving is None:
            return
        serving.listen_to()
        if serving.is_alive:
            return
        now = time.monotonic()
        if self._restart_at is None:
            say(f"server {serving.pid} of version {serving.run.version} ended with code {serving.exit_code}")
            if now - serving.born > STABLE_AFTER_S:
                self._backoff_s = 0.0
            self._restart_at = now + self._backoff_s
            self._backoff_s = min(max(self._backoff_s * 2, 0.2), MAX_BACKOFF_S)
            serving.is_ready = False
        if now < self._restart_at:
            return
        self._restart_at = None
        try:
            self._serving = ServerProcess(serving.run, serving.listener, self._place.state)
        except OSError as error:  # its interpreter or its code is gone; a deploy brings them back
            say(f"version {serving.run.version} cannot be started: {error}")
            self._restart_at = now + MAX_BACKOFF_S
            return
        self._restarts += 1
        serving.bury()

    def _see_off(self) -> None:
        for server, kill_at in list(self._leaving.items()):
            server.listen_to()
            if server.is_alive and time.monotonic() < kill_at:
                continue
            server.bury()
            del self._leaving[server]
            self._close_unused(server.listener)

    def _write_state(self) -> None:
        state = self._state()
        if state == self._written:
            return
        try:
            self._place.write(state)
        except OSError as error:  # a full disk must not end what still answers
            if self._can_write:
                say(f"the state cannot be written: {error}")
            self._can_write = False
            return
        self._can_write = True
        self._written = state

    def _state(self) -> State:
        serving = self._serving
        problem, next_step = self._failure or (None, None)
        return State(
            ticket=self._wish.ticket if self._wish else "",
            phase=self._phase(),
            supervisor=os.getpid(),
            worker=serving.pid if serving and serving.is_alive else None,
            run=serving.run if serving else None,
            since=serving.since if serving else None,
            restarts=self._restarts,
            draining=[server.pid for server in self._leaving],
            problem=problem,
            next_step=next_step,
        )

    def _phase(self) -> Literal["starting", "serving", "restarting", "failed"]:
        if self._candidate or any(server.is_accepting for server in self._leaving):
            return "starting"
        if self._failure:
            return "failed"
        return "serving" if self._serving and self._serving.is_ready else "restarting"

    def _leave(self) -> None:
        """End everything, politely first."""
        servers = [server for server in (self._candidate, self._serving, *self._leaving) if server]
        for server in servers:
            server.terminate()
        kill_at = time.monotonic() + KILL_AFTER_S
        while any(server.is_alive for server in servers) and time.monotonic() < kill_at:
            time.sleep(TICK_S)
        for server in servers:
            server.bury()


def say(text: str) -> None:
    """Add a line to the log."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} supervisor: {text}\n")
    sys.stderr.flush()


def _reason(server: ServerProcess, otherwise: str, place: Place) -> tuple[str, str]:
    if server.failure:
        return server.failure.problem, server.failure.next_step
    code = server.exit_code
    ended = f"the server ended with code {code} before it was ready" if code != -signal.SIGKILL else otherwise
    return ended, f"read its log: {place.log}"


def main() -> None:
    """Supervise the environment named on the command line, unless somebody already does."""
    state, environment = Path(sys.argv[1]), sys.argv[2]
    place = Place(state, environment)
    try:
        with place.lock(timeout_s=2):  # somebody may be looking whether it is held
            supervisor = Supervisor(place)

            def stop(_: int, __: FrameType | None) -> None:
                supervisor.is_stopping = True

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            supervisor.run()
    except filelock.Timeout:
        say(f"{environment} is already supervised")


if __name__ == "__main__":
    main()
