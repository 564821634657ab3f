"""How much of what was answered a log holds: a share, where the policy says so, and not what cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from slipway.log.frames import SHARE

if TYPE_CHECKING:
    import polars as pl


class LogCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What of a log was left out: lines that are no prediction, and predictions that are there more than once.

    It is what was seen of the log from `since` on, of everything where that is unknown. Where a share of the requests
    is logged, it holds `kept` of about `answered` predictions; where all are, both are 0. Of what it holds, `one_in` so
    many was read.
    """

    torn: int = 0
    again: int = 0
    one_in: int = 1
    kept: int = 0
    answered: int = 0
    since: datetime | None = None

    @property
    def remarks(self) -> list[str]:
        """The same in words, a sentence each."""
        when = f", since {self.since.astimezone(UTC):%Y-%m-%d %H:%M}" if self.since else ""
        said = [f"lines of the log that are no prediction, and left out: {self.torn:,}{when}"] if self.torn else []
        if self.one_in > 1:
            said.append(f"predictions that are judged: 1 in {self.one_in:,}, chosen by their ids (monitor.max_rows)")
        if self.again:
            said.append(f"predictions that are in the log more than once, and counted once: {self.again:,}{when}")
        if self.kept:
            said.append(f"the log holds {self.kept:,} of about {self.answered:,} predictions{when}: serving.log_share")
        return said


def is_drawn(prediction_id: str, share: float) -> bool:
    """Whether a prediction is logged where a share of the requests is: all rows of a request are, or none.

    It depends on nothing but the id, so that of a request to champion and shadow both answers are logged, or neither.
    """
    drawn = blake2b(prediction_id.rpartition("-")[0].encode(), digest_size=4).digest()
    return int.from_bytes(drawn) < share * 2**32


def is_part(log: pl.DataFrame) -> bool:
    """Whether a log holds a share of what was answered; without a word of it, it is everything."""
    return SHARE in log.columns and bool((log[SHARE] < 1).any())


def answered_of(log: pl.DataFrame, one_in: int = 1) -> int:
    """How many answers a log stands for, about, of which it may hold a share, and `one_in` so many of that was read."""
    return one_in * (round((1 / log[SHARE]).sum()) if is_part(log) else log.height)
