"""Server processes and their listening socket, seen from whatever starts them: a supervisor, or a container."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from slipway.base import programs
from slipway.base.buckets import is_bucket
from slipway.base.errors import MlopsError
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.target import Admitted, Assignment, Message, Run, Traffic

RETRY_S = 0.05

#: How often whoever keeps servers looks at them.
TICK_S = 0.05

#: Longer than a worker takes to drain and to finish its last request.
KILL_AFTER_S = 20

#: A server tells once a second that it is alive: one that has not for so long answers nobody.
HUNG_AFTER_S = 20

#: How long a server that is started again may take until it answers.
START_S = 120

MAX_BACKOFF_S = 30
STABLE_AFTER_S = 60

#: What serves a run that names no program of its own.
SERVER = "slipway.serving.run"


def assignment(run: Run, place: EnvironmentFolder, counts: Path, fds: tuple[int, int]) -> bytes:
    """What a server process is started with; `fds` are its listening socket and its socket for messages."""
    task = Assignment(
        run=msgspec.structs.replace(run, limits=run.limits.of_the_first_release()),
        state=str(place.state),
        fd=fds[0],
        link=fds[1],
        limits=run.limits,
        counts=str(counts),
        traffic=str(place.path_of(Traffic)) if run.role == "champion" else None,
        admitted=str(place.path_of(Admitted)) if run.guarded else None,
    )
    return msgspec.json.encode(task)


class ServerProcess:
    """A server that was started, and what its messages have said since."""

    def __init__(self, run: Run, listener: socket.socket, place: EnvironmentFolder, counts: Path) -> None:
        self.born = time.monotonic()
        self.is_ready = False
        self.is_accepting = True
        self.failure: Message | None = None
        self._tells_life = False  # the code of an earlier release does not, and is not missed
        self._silent_s = 0.0
        self._looked_at = self.born
        self._received = b""
        self._link, remote = socket.socketpair()
        self._link.setblocking(False)
        with remote:
            fds = (listener.fileno(), remote.fileno())
            task = assignment(run, place, counts, fds)
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [run.python, "-P", "-m", run.program or SERVER, task.decode()],
                cwd=place.state,
                # What lets the upload into a bucket is none of the servers' business.
                env=programs.environment() if is_bucket(run.limits.log) else None,
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

    @property
    def is_hung(self) -> bool:
        """Whether it lives and has been silent for so long that it answers nobody, or has not begun to."""
        if not self.is_alive or (self.is_ready and not self._tells_life):
            return False
        return self._silent_s > (HUNG_AFTER_S if self.is_ready else START_S)

    def read_messages(self) -> None:
        """Take in its messages since the last time."""
        now = time.monotonic()
        # Whoever looks may itself have been stopped, with the whole machine: such a time is no silence.
        self._silent_s += min(now - self._looked_at, 1.0)
        self._looked_at = now
        try:
            self._received += self._link.recv(65_536)
        except (BlockingIOError, ConnectionResetError):
            return
        self._silent_s = 0.0
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            message = msgspec.json.decode(line, type=Message)
            if message.event == "ready":
                self.is_ready = True
            elif message.event == "draining":
                self.is_accepting = False
            elif message.event == "failed":
                self.failure = message
            elif message.event == "alive":
                self._tells_life = True

    def end_if_hung(self) -> None:
        """End it where it hangs, without waiting for that: what takes its place comes when it has gone."""
        if not self.is_hung:
            return
        what = "has been silent" if self.is_ready else "has not been ready"
        log(f"server {self.pid} hangs: it {what} for {self._silent_s:.0f} seconds, and is ended")
        self._process.kill()
        self._silent_s = 0.0

    def terminate(self) -> None:
        """Ask it to drain: to finish what it has, then end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, if it has not ended, and reap it."""
        self._process.kill()
        self._process.wait()
        self._link.close()


class Slot:
    """A worker slot: the server in it now, and when the next one may start."""

    def __init__(self, start: Callable[[], ServerProcess]) -> None:
        self.restarts = 0
        self._start = start
        self._backoff_s = 0.0
        self._restart_at: float | None = None
        self.server = start()

    def keep(self) -> None:
        """Start the server again when it has ended or hangs, later each time that it ends early."""
        self.server.read_messages()
        self.server.end_if_hung()
        if self.server.is_alive:
            return
        now = time.monotonic()
        if self._restart_at is None:
            log(f"server {self.server.pid} ended with code {self.server.exit_code}")
            if now - self.server.born > STABLE_AFTER_S:
                self._backoff_s = 0.0
            self._restart_at = now + self._backoff_s
            self._backoff_s = min(max(self._backoff_s * 2, 0.2), MAX_BACKOFF_S)
            self.server.is_ready = False
        if now < self._restart_at:
            return
        self._restart_at = None
        gone = self.server
        try:
            self.server = self._start()
        except OSError as error:  # its interpreter or its code is gone; a deploy brings them back
            log(f"server {gone.pid} cannot be started again: {error}")
            self._restart_at = now + MAX_BACKOFF_S
            return
        self.restarts += 1
        gone.kill()


class Group:
    """The server processes of one run. They share one listening socket: whoever is free takes the next connection."""

    def __init__(self, run: Run, listener: socket.socket, place: EnvironmentFolder, name: str = "") -> None:
        """Start as many processes as the run wants; `name` is that of their folder of counts."""
        self.run = run
        self.listener = listener
        self.since = datetime.now(UTC)
        self.born = time.monotonic()
        self.counts = place.folder / "counts" / (name or secrets.token_hex(4))
        shutil.rmtree(self.counts, ignore_errors=True)  # a container that was killed has the same name again
        self.counts.mkdir(parents=True, exist_ok=True)
        self._slots: list[Slot] = []
        try:
            for _ in range(run.workers):
                self._slots.append(Slot(lambda: ServerProcess(run, listener, place, self.counts)))
        except OSError:
            self.kill()
            raise

    @property
    def servers(self) -> list[ServerProcess]:
        """Its processes, the first one first."""
        return [slot.server for slot in self._slots]

    @property
    def is_ready(self) -> bool:
        """Whether each of its processes has proven itself."""
        return all(server.is_ready for server in self.servers)

    @property
    def is_alive(self) -> bool:
        """Whether none of its processes has ended."""
        return all(server.is_alive for server in self.servers)

    @property
    def is_hung(self) -> bool:
        """Whether one of its processes hangs."""
        return any(server.is_hung for server in self.servers)

    @property
    def is_gone(self) -> bool:
        """Whether all of its processes have ended."""
        return not any(server.is_alive for server in self.servers)

    @property
    def is_accepting(self) -> bool:
        """Whether one of its processes may still take a connection."""
        return any(server.is_accepting for server in self.servers)

    @property
    def restarts(self) -> int:
        """How often one of its processes was started again."""
        return sum(slot.restarts for slot in self._slots)

    @property
    def ended(self) -> ServerProcess:
        """The process that says most about why the group is not ready."""
        return next((server for server in self.servers if not server.is_alive), self.servers[0])

    def pids(self) -> list[int]:
        """The processes that live."""
        return [server.pid for server in self.servers if server.is_alive]

    def read_messages(self) -> None:
        """Take in the messages of its processes since the last time."""
        for server in self.servers:
            server.read_messages()

    def keep(self) -> None:
        """Start again what has ended."""
        for slot in self._slots:
            slot.keep()

    def terminate(self) -> None:
        """Ask all of its processes to drain."""
        for server in self.servers:
            server.terminate()

    def kill(self) -> None:
        """End and reap what has not ended, and remove its counts."""
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.counts, ignore_errors=True)


def log(text: str) -> None:
    """Add a line to the log."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} supervisor: {text}\n")
    sys.stderr.flush()


def open_listener(run: Run, patience_s: float = 3) -> socket.socket:
    """Listen where `run` wants to.

    The worker of a supervisor that was killed needs a moment to notice and to close its address, so a
    taken one is tried again for a while.
    """
    if run.role == "challenger":
        return _open_socket(Path(run.host))
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


def _open_socket(path: Path) -> socket.socket:
    """Listen on a path. It is relative, because the system allows about a hundred characters."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise MlopsError(
            f"cannot listen on {path}: {error.strerror or error}", "make its folder writable, then deploy again"
        ) from None
    return listener
