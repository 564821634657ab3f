"""Saying on a machine what it serves, for whoever looks at all machines of an environment."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from slipway.base.buckets import is_bucket
from slipway.delivery.processes import log
from slipway.delivery.target import Rival, Run
from slipway.log import heartbeats
from slipway.log.heartbeats import EVERY_S, Heartbeat, ServedVersion


class HeartbeatKeeper:
    """Keeps a heartbeat, where servers keep their log in a bucket, in which there may be more of them."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.started = datetime.now(UTC)
        self._said: tuple[Run, Rival | None] | None = None
        self._next_at = 0.0
        self._path: Path | None = None
        self._can_write = True

    def keep(self, run: Run, rival: Rival | None) -> None:
        """Say what is served, as often as that is due, and at once when it has changed."""
        if not is_bucket(run.limits.log):
            self.end()
            return
        now = time.monotonic()
        if (run, rival) == self._said and now < self._next_at:
            return
        self._said, self._next_at = (run, rival), now + EVERY_S
        beat = Heartbeat(
            environment=run.environment, machine=heartbeats.machine(), started=self.started, seen=datetime.now(UTC),
            address=f"{run.host}:{run.port}", workers=run.workers, served=_served(run, rival),
        )  # fmt: skip
        try:
            self._path = heartbeats.write(self._state, beat)
            heartbeats.forget_others(self._path)
        except OSError as error:  # one line for an outage: what answers requests goes on
            if self._can_write:
                log(f"what is served here cannot be told: {error}")
            self._can_write = False
            return
        self._can_write = True

    def end(self) -> None:
        """Say that nothing is served any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._path = self._said = None


def _served(run: Run, rival: Rival | None) -> list[ServedVersion]:
    served = [("champion", run, 0.0)] + ([(rival.mode, rival.run, rival.share)] if rival else [])
    return [
        ServedVersion(role, one.version, one.digest, one.platform_digest, one.file_commit, share)
        for role, one, share in served
    ]
