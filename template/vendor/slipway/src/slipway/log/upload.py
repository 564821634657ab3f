"""The process that brings the logs of an environment from the spool of this machine into their bucket.

It runs beside the servers and answers no request. A bucket that is away is tried again for ever, later each time, and
meanwhile the spool grows. Whoever starts it as a program names the folder for state, the environment, the address and
its own process, with which this one ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.log.bucket import BucketSink
from slipway.log.heartbeats import HeartbeatSync
from slipway.log.store import ERASURES, LOGS, LogPlace

#: What a machine that is lost with its disk has not uploaded is no older, while the bucket is there.
EVERY_S = 30
MAX_BACKOFF_S = 120

_NICE = 10


class Uploader:
    """Empties the spools of an environment, and tells what is served here; first it lets `look` find that out."""

    def __init__(
        self, state: Path, environment: str, address: str, log: Log, look: Callable[[], None] = lambda: None
    ) -> None:
        self._sinks = {name: BucketSink(LogPlace(state, name, environment, address)) for name in LOGS}
        self._heartbeats = HeartbeatSync(state, environment, address)
        self._log = log
        self._look = look
        self._ended = threading.Event()

    def end(self) -> None:
        """Let `follow` try once more what waits, and return."""
        self._ended.set()

    def once(self) -> int:
        """Upload what waits; returns how many objects these were. Raises `MlopsError` where the bucket is away."""
        return sum(sink.upload() for sink in self._sinks.values())

    def join(self, now: datetime) -> int:
        """Join the objects of days before yesterday into few; returns how many were deleted when they were there.

        The record of erasures is left alone: nobody deletes of it. Raises `MlopsError` as `BucketSink.join` does.
        """
        before = now.astimezone(UTC).date() - timedelta(days=1)
        return sum(sink.join(before) for name, sink in self._sinks.items() if name != ERASURES)

    def follow(self, every_s: float = EVERY_S, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Upload every so many seconds until told to end, or not wanted; say when the bucket goes and when it comes."""
        wait_s, failed_at = every_s, None
        self._beat()
        while not self._ended.wait(wait_s) and is_wanted():
            problem = self._try()
            self._beat()
            if problem and failed_at is None:
                failed_at = datetime.now(UTC)
                self._log(f"the log is not uploaded, waits on this machine and is tried again for ever: {problem}")
            elif failed_at and not problem:
                self._log(f"the log is uploaded again, after {(datetime.now(UTC) - failed_at).total_seconds():.0f} s")
                failed_at = None
            wait_s = min(2 * wait_s, max(every_s, MAX_BACKOFF_S)) if problem else every_s
        if problem := self._try():
            self._log(f"the log is not uploaded, and waits on this machine: {problem}")
        self._beat()

    def _beat(self) -> None:
        """Say in the bucket what is served here; where it is away, the log has that line already."""
        with suppress(MlopsError, OSError):
            self._look()
            self._heartbeats.sync()

    def _try(self) -> str:
        """Upload; returns what went wrong, empty when nothing did."""
        try:
            self.once()
        except MlopsError as error:
            return error.problem
        except OSError as error:
            return str(error)
        return ""


def say(text: str) -> None:
    """Add a line to the log of the servers."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} upload: {text}\n")
    sys.stderr.flush()


def main() -> None:
    """Upload until whoever started this asks to end, or is gone."""
    state, environment, address, parent = sys.argv[1:5]
    os.nice(_NICE)  # what answers requests goes first
    uploader = Uploader(Path(state), environment, address, say)

    def end(_: int, __: FrameType | None) -> None:
        uploader.end()

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches it as well, before the servers have ended
    uploader.follow(is_wanted=lambda: os.getppid() == int(parent))


if __name__ == "__main__":
    try:
        main()
    except MlopsError as error:
        sys.exit(str(error))
