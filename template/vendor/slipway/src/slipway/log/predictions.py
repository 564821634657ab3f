"""The prediction log: what was asked, what was answered, by which version.

One JSON object per line, in the sink of the environment's log (see `store.py`): usually a file in
`.mlops/predictions/<environment>/`. Monitoring reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import compress, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from slipway.contract import logged
from slipway.contract.rows import Row
from slipway.log import posted, refusals
from slipway.log.counts import LogCounts, answered_of, is_drawn, is_part
from slipway.log.frames import frame_of
from slipway.log.gathering import Gathering
from slipway.log.store import DatedSink, LogFile, LogPlace, SpooledSink, environments, opened, sink_of
from slipway.settings.project import Project
from slipway.team import CONTRACT

if TYPE_CHECKING:
    import polars as pl

    from slipway.log.masks import Mask

LOG = "predictions"
FLUSH_S = 0.05
FLUSH_BYTES = 1_000_000
#: No log is older; a calendar does not go back for ever.
MOST_DAYS = 500_000

logger = logging.getLogger(__name__)

#: What is deleted together when it is old.
LOGS = (LOG, refusals.LOG, posted.LOG)

#: Who scored a row. A client never sees what a `shadow` says; its id is that of the answer the client got. A `probe` is
#: a deployment's own question, which nobody judges.
Role = Literal["champion", "challenger", "shadow", "probe"]


class Prediction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One scored row. `row` is a row of the contract when it is written and a `dict` when it is read.

    With classes, `answer` is the name of one, `score` its probability, and `probabilities` has that of each.
    `identity` is who asked, as a hash, where a server knows that. `share` of all requests were logged then.
    """

    id: str
    at: datetime
    environment: str
    version: int | None
    digest: str
    row: Any
    score: float
    answer: bool | float | str
    role: Role = "champion"
    probabilities: list[float] | None = None
    identity: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class ReadLog:
    """Predictions as `read` gives them, a `polars.DataFrame`, and what was left out of them."""

    frame: pl.DataFrame
    counts: LogCounts


class PredictionLog:
    """Writes predictions from the event loop, in blocks: no thread, and no system call per request.

    A killed process loses at most the last `FLUSH_S` seconds. A disk that is full or gone never fails
    a request: the rows are counted in `failed` and given up, so memory stays bounded. With a `mask`, only
    what it leaves of a row is ever in a block. Below 1, `share` is that of the requests to be logged, drawn by
    their ids; a deployment's own questions always are.
    """

    def __init__(
        self,
        state: Path,
        environment: str,
        version: int | None,
        digest: str,
        mask: Mask | None = None,
        address: str = "",
        share: float = 1.0,
    ) -> None:
        """`state` is the folder for local state, `address` says where else the log is kept: see `store.py`."""
        self.written = 0
        self.failed = 0
        self._sink = opened(LogPlace(state, LOG, environment, address))
        self._model = environment, version, digest
        # Of a picture no log holds a byte.
        self._rows = mask or (partial(logged.row_of, CONTRACT) if CONTRACT.pictures else None)
        self._share = share
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._buffer = bytearray()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_failing = False

    def add(
        self,
        ids: Sequence[str],
        rows: Sequence[Row],
        scores: Sequence[float],
        answers: Sequence[Any],
        role: Role = "champion",
        probabilities: Sequence[Sequence[float]] | None = None,
        identities: Iterable[str] = repeat(""),
    ) -> None:
        """Take rows that were scored together; they reach the disk within `FLUSH_S` seconds."""
        at, model = repeat(datetime.now(UTC)), map(repeat, self._model)
        masked = rows if self._rows is None else map(self._rows, rows)
        each = repeat(None) if probabilities is None else probabilities
        parts: tuple[Iterable[Any], ...] = ids, at, *model, masked, scores, answers, repeat(role), each, identities
        if self._share < 1 and role != "probe":
            drawn = [is_drawn(id_, self._share) for id_ in ids]
            parts = (*(compress(part, drawn) for part in parts), repeat(self._share))
        made = [*map(Prediction, *parts)]
        if not made:
            return
        self._buffer += self._encode_lines(made)
        self._waiting += len(made)
        if len(self._buffer) > FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what is waiting, with one call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        try:
            self._sink.append(bytes(self._buffer))
        except OSError as error:
            # One line for an outage, not one per request.
            if not self._is_failing:
                logger.error("predictions are answered but not recorded: %s", error)
            self._is_failing = True
            self.failed += self._waiting
        else:
            self._is_failing = False
            self.written += self._waiting
        self._buffer.clear()
        self._waiting = 0

    def waiting_s(self) -> float | None:
        """For how long predictions have waited on this machine for their way to the log; `None` where none do."""
        return self._sink.waiting_s() if isinstance(self._sink, SpooledSink) else None

    def close(self) -> None:
        """Write what is waiting and let go of the log."""
        self.flush()
        self._sink.close()


def folder(state: Path, environment: str) -> Path:
    """Where the predictions of an environment are, below the folder for local state."""
    return LogPlace(state, LOG, environment).folder


def find(project: Project, prediction_id: str) -> Prediction | None:
    """Find a logged prediction by its id, in any environment."""
    for environment in environments(project, LOG):
        for line in sink_of(project, LOG, environment).find(prediction_id):
            if (prediction := _parse(line)) and prediction.role != "shadow":
                return prediction
    return None


def read(
    project: Project,
    environment: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    mask: Mask | None = None,
    with_shadow: bool = False,
) -> pl.DataFrame:
    """Return logged predictions, oldest first: `since` is included, `until` is not; both know their time zone.

    The columns are id, at, version, digest, role, (share), score and answer (a yes counts as 1, a class as its place in
    CLASSES), with CLASSES their probabilities, a list, then the fields of the contract. A value that does not fit
    today's contract is null, a torn line is left out, and what is there twice, as in a log that was copied, is there
    once. What a shadow said was no answer, so it has to be asked for; a deployment's own question is never there.
    Columns that a `mask` hashes are text: the hash, also of what was logged before there was a rule.
    """
    return read_counted(project, environment, since, until, with_shadow=with_shadow, mask=mask).frame


def read_counted(
    project: Project,
    environment: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    with_shadow: bool = False,
    mask: Mask | None = None,
    fields: Collection[str] | None = None,
    most: int | None = None,
    one_in: int = 1,
) -> ReadLog:
    """Do what `read` does, and say what was left out. With `fields`, no others of the contract are columns.

    With `most`, an even part of at most so many is read, which ids decide; with `one_in`, that part of the log.
    """
    wanted = [field for field in logged.fields_of(CONTRACT.fields) if fields is None or field.name in fields]
    gathered, torn = Gathering(wanted, mask, most, one_in), 0
    for prediction in _predictions(project, environment, since, until, with_rows=bool(wanted)):
        if prediction is None:
            torn += 1
            continue
        if prediction.role == "probe" or (prediction.role == "shadow" and not with_shadow):
            continue
        gathered.add(prediction)
    told = gathered.frame().sort("at", maintain_order=True)
    # What a shadow says has the id of the answer that the client got.
    once = told.unique(["id", "role"], keep="first", maintain_order=True)
    part = gathered.one_in
    kept, answered = (once.height * part, answered_of(once, part)) if is_part(once) else (0, 0)
    again = told.height - once.height
    counts = LogCounts(torn=torn, again=again, one_in=part, kept=kept, answered=answered, since=since)
    return ReadLog(once, counts)


def sample(project: Project, environment: str, rows: int) -> pl.DataFrame:
    """Return logged predictions, shadows among them, evenly spread over the whole log, however long that is.

    These are `rows` to twice as many, or all there are.
    """
    chosen: list[Prediction] = []
    step = 1
    found = (
        one for one in _predictions(project, environment, None, None, with_rows=True) if one and one.role != "probe"
    )
    for number, prediction in enumerate(found):
        if number % step == 0:
            chosen.append(prediction)
        if len(chosen) > 2 * rows:
            chosen, step = chosen[::2], 2 * step
    return (
        frame_of(chosen, logged.fields_of(CONTRACT.fields), None)
        .sort("at", maintain_order=True)
        .unique(["id", "role"], maintain_order=True)
    )


def files(project: Project, environment: str) -> list[LogFile] | None:
    """What the log of an environment consists of, older days first; `None` where its sink cannot say."""
    sink = sink_of(project, LOG, environment)
    return sink.files() if isinstance(sink, DatedSink) else None


def forgotten(keep_days: int, now: datetime) -> date:
    """The last of the days that ended at least `keep_days` days ago."""
    return (now.astimezone(UTC) - timedelta(days=min(keep_days, MOST_DAYS) + 1)).date()


def forget(project: Project, environment: str, keep_days: int, now: datetime) -> int:
    """Delete what was written on days that ended at least `keep_days` days ago, labels that were posted among it.

    Returns how many files or objects these were. None holds a row that is younger than its day.
    """
    last = forgotten(keep_days, now)
    return sum(sink_of(project, log, environment).forget(last) for log in LOGS)


def _predictions(
    project: Project, environment: str, since: datetime | None, until: datetime | None, *, with_rows: bool
) -> Iterator[Prediction | None]:
    """The predictions of a time; `None` for a line that holds none."""
    decoder = _decoder if with_rows else _plain_decoder
    for line in sink_of(project, LOG, environment).scan(since, until):
        prediction = _parse(line, decoder)
        if prediction is None and line.strip():
            yield None
        if prediction and (not since or prediction.at >= since) and (not until or prediction.at < until):
            yield prediction


class _Unread(Prediction, frozen=True, gc=False, omit_defaults=True):
    """A prediction whose row nobody asks for."""

    row: msgspec.Raw


_decoder = msgspec.json.Decoder(Prediction)
_plain_decoder = msgspec.json.Decoder(_Unread)


def _parse(line: bytes, decoder: msgspec.json.Decoder[Any] = _decoder) -> Prediction | None:
    try:
        found: Prediction = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    # No server names a class without the probability of each, and nothing could be judged by it.
    return None if isinstance(found.answer, str) and found.probabilities is None else found
