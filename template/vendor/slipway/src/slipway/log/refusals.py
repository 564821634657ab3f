"""The record of refusals: which values the contract turned away in requests, and how often.

One JSON object per line, kept beside the prediction log: see `store.py`.
`mlops monitor` shows what is in it, and `mlops widen` turns it into a proposed change of the contract.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from slipway.contract.problems import FieldError
from slipway.contract.rows import Contract, Field, FieldKind
from slipway.contract.rules import RULES
from slipway.log.store import LogPlace, opened, sink_of
from slipway.settings.project import Project
from slipway.team import CONTRACT

LOG = "refused"

#: Whoever sends nonsense for ever fills no disk: a process writes no more lines than this, about 10 kB, a minute.
LINES_A_MINUTE = 60
#: So many different values wait for the next minute; of any others only the field and the rule are counted.
MOST_WAITING = 500
#: Longer values are cut off, in characters of their JSON.
MOST_CHARACTERS = 120

logger = logging.getLogger(__name__)


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value that was refused, so many `times` since the line before; `value` is its JSON, if that is kept.

    `rule` is what `Field.broken_by` names, or `other` for one that it does not know.
    """

    at: datetime
    field: str
    rule: str
    times: int
    value: str | None = None


def kept(field: Field, rule: str, value: Any) -> str | None:
    """What the record keeps of a refused value, as JSON: the one place that decides about it.

    That is a value that may become a part of the contract, or shows what is wrong with a pattern. Of a value of
    another type nothing is kept, and never anything of free text.
    """
    is_free_text = field.kind is FieldKind.TEXT and "pattern" not in dict(field.limits)
    if is_free_text or rule not in ("category", *RULES):
        return None
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


class RefusalLog:
    """Counts refusals in memory and writes the counts, a few lines at a time: no thread, nothing for a good request.

    Counts stay right however many there are; a killed process loses those that wait for the next minute.
    """

    def __init__(
        self,
        state: Path,
        environment: str,
        contract: Contract = CONTRACT,
        hidden: Collection[str] = (),
        address: str = "",
    ) -> None:
        """Count for an environment; of the fields in `hidden` no value is kept. `address` as in `PredictionLog`."""
        self._hidden = hidden
        self._sink = opened(LogPlace(state, LOG, environment, address))
        self._fields = {field.name: field for field in contract.fields}
        self._waiting: dict[tuple[str, str, str | None], int] = {}
        self._minute = -1
        self._lines_left = 0
        self._is_failing = False

    def add(self, errors: Iterable[FieldError]) -> None:
        """Count what was wrong with a request, for the fields that the contract knows."""
        for error in errors:
            field = self._fields.get(error.field)
            if field is None:
                continue
            rule = field.broken_by(error.value) or "other"
            value = None if field.name in self._hidden else kept(field, rule, error.value)
            key = (field.name, rule, value)
            if key not in self._waiting and len(self._waiting) >= MOST_WAITING:
                key = (field.name, rule, None)
            self._waiting[key] = self._waiting.get(key, 0) + 1

    def flush(self, clock_s: float) -> None:
        """Write what waits, as far as this minute of the clock allows."""
        if not self._waiting:
            return
        if clock_s // 60 != self._minute:
            self._minute, self._lines_left = int(clock_s // 60), LINES_A_MINUTE
        self._write(self._lines_left)

    def close(self) -> None:
        """Write everything that waits, and let go of the log."""
        self._write(len(self._waiting))
        self._sink.close()

    def _write(self, lines: int) -> None:
        now = datetime.now(UTC)
        chosen = list(islice(self._waiting.items(), lines))
        if not chosen:
            return
        made = [Refusal(now, field, rule, times, value) for (field, rule, value), times in chosen]
        try:
            self._sink.append(msgspec.json.Encoder().encode_lines(made))
        except OSError as error:
            # One line for an outage. What waits stays, and there is a bound on it.
            if not self._is_failing:
                logger.error("refusals are not recorded: %s", error)
            self._is_failing = True
            return
        self._is_failing = False
        self._lines_left -= len(chosen)
        for key, _ in chosen:
            del self._waiting[key]


def folder(state: Path, environment: str) -> Path:
    """Where the refusals of an environment are, below the folder for local state."""
    return LogPlace(state, LOG, environment).folder


def read(project: Project, environment: str, since: datetime | None = None) -> Sequence[Refusal]:
    """Return the recorded refusals since a time that knows its zone; a line that cannot be read is left out."""
    found = map(_parse, sink_of(project, LOG, environment).scan(since, None))
    return [one for one in found if one and (since is None or one.at >= since)]


def _parse(line: bytes) -> Refusal | None:
    try:
        return msgspec.json.decode(line, type=Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
