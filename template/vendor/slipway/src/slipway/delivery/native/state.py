"""What commands and the supervisor of an environment tell each other: `desired.json` and `state.json`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from slipway.delivery.target import Rival, Run


class Desired(msgspec.Struct, frozen=True):
    """`desired.json`. The ticket tells the answer to this wish from the answer to an earlier one."""

    ticket: str
    run: Run
    timeout_s: float
    challenger: Rival | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`state.json`: what runs now, and what became of the last wish.

    `run` is what answers requests, `challenger` what gets its part of them. `workers` and `challengers` are their
    processes, `worker` the first one. A wish that failed leaves its `problem` here, and whatever answered before
    still in `run`. A supervisor of an earlier release does not say `knows_privacy`, `knows_programs`, `knows_access` or
    `knows_labels`: it would hand none of these on, and starts every server by the program of its own release. `log` is
    where the first run that it was started for keeps its log: a supervisor has the credentials for a bucket only if
    that was one.
    """

    ticket: str
    phase: Literal["starting", "serving", "restarting", "failed"]
    supervisor: int
    worker: int | None = None
    workers: list[int] = []
    run: Run | None = None
    challenger: Rival | None = None
    challengers: list[int] = []
    since: datetime | None = None
    restarts: int = 0
    draining: list[int] = []
    problem: str | None = None
    next_step: str | None = None
    knows_privacy: bool = False
    knows_programs: bool = False
    knows_access: bool = False
    knows_labels: bool = False
    log: str = ""

    @property
    def version(self) -> int | None:
        """The version that answers."""
        return self.run.version if self.run else None

    @property
    def digest(self) -> str:
        """The digest of the bundle that answers."""
        return self.run.digest if self.run else ""
