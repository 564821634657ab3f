"""Keeping the process that uploads an environment's logs, beside the servers that write them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.base.buckets import is_bucket, require_library
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.processes import log
from slipway.delivery.target import Run

PROGRAM = "slipway.log.upload"
RETRY_S = 30

#: How long the last upload may take; what is not uploaded by then waits for the next start.
END_S = 8


@contextmanager
def beside(state: Path, environment: str, address: str) -> Iterator[None]:
    """Let a process upload what the server in this one logs, until the block ends; without a bucket do nothing.

    Raises `MlopsError` where nothing is installed that could reach the bucket.
    """
    if not is_bucket(address) or os.name == "nt":  # there the server refuses a bucket itself
        yield
        return
    require_library(address)
    process = _started(sys.executable, state, environment, address)
    try:
        yield
    finally:
        process.terminate()
        _end_within(END_S, [process])


class UploadKeeper:
    """Sees that what a run logs is uploaded, where its log is in a bucket."""

    def __init__(self, place: EnvironmentFolder) -> None:
        self._place = place
        self._told: tuple[str, str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        self._ending: list[subprocess.Popen[bytes]] = []

    def keep(self, run: Run | None) -> None:
        """Start the process for a run that needs one, start again one that has ended, and end one that none needs."""
        told = (run.python, run.limits.log) if run and is_bucket(run.limits.log) else None
        if told != self._told:
            self._let_go()
            self._told, self._start_at = told, 0.0
        self._ending = [process for process in self._ending if process.poll() is None]
        now = time.monotonic()
        if told is None or now < self._start_at or (self._process and self._process.poll() is None):
            return
        if self._process:
            log(f"the upload of the log ended with code {self._process.returncode}, and is started again")
        self._start_at = now + RETRY_S
        try:
            self._process = _started(told[0], self._place.state, self._place.folder.name, told[1])
        except OSError as error:
            log(f"the log is not uploaded, its process cannot be started: {error}")

    def end(self) -> None:
        """Let it upload what waits, and end it where that takes too long."""
        self._let_go()
        _end_within(END_S, self._ending)

    def _let_go(self) -> None:
        if self._process:
            self._process.terminate()
            self._ending.append(self._process)
            self._process = None


def _end_within(seconds: float, processes: Iterable[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(python: str, state: Path, environment: str, address: str) -> subprocess.Popen[bytes]:
    state.mkdir(parents=True, exist_ok=True)
    # It unblocks this when it can end well: until then being asked to end would lose the last upload.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return subprocess.Popen(  # noqa: S603 - our own module, no shell
            [python, "-P", "-m", PROGRAM, str(state), environment, address, str(os.getpid())],
            cwd=state,
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
            stdin=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
