"""`POST /labels`: what really happened, posted to the server whose predictions it is about.

A label is checked by the contract, and is on record before it is answered. All labels of a request are taken, or none.
What the team's `target` makes of an outcome is for who reads them: its module needs the library that trains.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from slipway.contract.problems import MAX_ERRORS, MEDIA_TYPE, FieldError, Problem, not_json, rows_of
from slipway.contract.rows import Contract, Row
from slipway.log.posted import LabelLog, PostedLabel
from slipway.serving.asgi import IDENTITY, PROBE, read_body, respond
from slipway.serving.counts import ByLabel, count
from slipway.serving.limits import RateLimit
from slipway.serving.protocols.base import Reply
from slipway.team import CONTRACT

PATH = "/labels"

#: What became of labels: `failed` are good, and could not be recorded.
OUTCOMES = ("accepted", "refused", "failed")

#: Beside the columns of the contract, which can have no such names: a prediction's id, and when an outcome was known.
_ID, _AT = "id", "at"
_ID_TYPE = Annotated[str, Meta(min_length=1, max_length=100)]
#: A clock may be wrong by so much.
_AHEAD = timedelta(minutes=5)

logger = logging.getLogger(__name__)


class _Nothing(Row):
    """A label has no outcome of its own."""


class LabelReader:
    """Checks labels by the rules of the contract, and makes what the log holds of them."""

    def __init__(self, log: LabelLog, max_rows: int) -> None:
        self._log = log
        self._max_rows = max_rows
        self._outcome = [field.name for field in CONTRACT.outcome_fields]
        types = {one.encode_name: one.type for kind in (CONTRACT.row, CONTRACT.outcome) for one in _fields(kind)}
        self._columns = [*(name for name in log.form.key if name != _ID), *self._outcome]
        row: Any = msgspec.defstruct(
            "Label", [(name, types[name]) for name in self._columns], bases=(Row,), kw_only=True,
            forbid_unknown_fields=True,
        )  # fmt: skip
        free = next(name for name in self._columns if name != "model")
        self._contract = Contract(row=row, outcome=_Nothing, key=(free,))

    def read(self, body: bytes, identity: str, now: datetime) -> list[PostedLabel]:
        """The labels of a body; raises `Problem` that names every item that is wrong."""
        records, place = self.records(body)
        errors = [error for number, one in enumerate(records) for error in self._beside(one, place.format(number), now)]
        rows: list[Row] = []
        try:
            plain = [_without(one, (_ID, _AT) if _ID in self._log.form.key else (_AT,)) for one in records]
            rows = rows_of(plain, self._contract, ValueError("a label is an object"), place)
        except Problem as problem:
            errors += problem.errors
        errors += [] if errors else self._untold(rows, place)
        if errors:
            errors = sorted(errors, key=_item)[:MAX_ERRORS]
            items = len({_item(error) for error in errors})
            more = " or more" if len(errors) == MAX_ERRORS else ""
            raise Problem(422, f"none of {len(records):,} labels is recorded: {items}{more} cannot be right", errors)
        return [self._made(record, row, identity, now) for record, row in zip(records, rows, strict=True)]

    def records(self, body: bytes) -> tuple[list[Any], str]:
        """The items of a body, and where each stands."""
        try:
            found = msgspec.json.decode(body)
        except msgspec.ValidationError as wrong:
            raise Problem(422, f"the body is not JSON that can be read: {wrong}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise not_json(body, error) from None
        if isinstance(found, dict):
            return [found], "#"
        if not isinstance(found, list) or not found:
            raise Problem(422, "the body is neither a label nor a list with at least one")
        if len(found) > self._max_rows:
            raise Problem(413, f"{len(found):,} labels are more than the {self._max_rows:,} that one request may hold")
        return found, "#/{}"

    def describe(self) -> dict[str, Any]:
        """The part of the OpenAPI document on labels."""
        _, components = msgspec.json.schema_components([self._contract.row], ref_template="#/components/schemas/{name}")
        label = components["Label"]
        label["properties"][_AT] = {"type": "string", "format": "date-time", "description": "When it became known."}
        if _ID in self._log.form.key:
            label["properties"][_ID] = {"type": "string", "description": "The id that came with the answer."}
            label["required"] = [_ID, *label["required"]]
        item = {"$ref": "#/components/schemas/Label"}
        many = {"type": "array", "items": item, "minItems": 1, "maxItems": self._max_rows}
        accepted = {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer"}}}
        refused = {400: "not_json", 413: "too_large", 415: "not_declared", 422: "breaks_contract", 429: "too_many"}
        answers: dict[str, Any] = {
            str(status): {"$ref": f"#/components/responses/{name}"} for status, name in refused.items()
        }
        answers["200"] = {"description": "All are on record.", "content": {"application/json": {"schema": accepted}}}
        answers["503"] = {"description": "None could be recorded as a whole; send them again."}
        body = {"required": True, "content": {"application/json": {"schema": {"oneOf": [item, many]}}}}
        post = {"summary": "Say what happened after predictions", "requestBody": body, "responses": answers}
        return {"paths": {PATH: {"post": post}}, "components": {"schemas": components}}

    def _beside(self, record: Any, pointer: str, now: datetime) -> Iterator[FieldError]:
        """What is wrong with the id and the time of an item."""
        if not isinstance(record, dict):
            return
        if _ID in self._log.form.key:
            try:
                msgspec.convert(record.get(_ID), _ID_TYPE)
            except msgspec.ValidationError:
                yield FieldError(f"{pointer}/{_ID}", "must be the id of a prediction, as its answer had it", _ID)
        if record.get(_AT) is not None and (said := _moment(record[_AT], now)):
            yield FieldError(f"{pointer}/{_AT}", said, _AT)

    def _untold(self, rows: Sequence[Row], place: str) -> list[FieldError]:
        """What is wrong with labels that keep the contract and tell nothing."""
        return [
            FieldError(f"{place.format(number)}/{name}", "is null, and a label says what happened", name)
            for number, row in enumerate(rows)
            for name in self._log.form.needed
            if getattr(row, name) is None
        ]

    def _made(self, record: dict[str, Any], row: Row, identity: str, now: datetime) -> PostedLabel:
        values = msgspec.to_builtins(row)
        key = {name: record[_ID] if name == _ID else values[name] for name in self._log.form.key}
        told = record.get(_AT)
        return PostedLabel(
            at=now,
            key=self._log.masked(key),
            outcome={name: values[name] for name in self._outcome},
            time=None if told is None else msgspec.convert(told, datetime).astimezone(UTC),
            identity=identity,
        )


class LabelRoute:
    """The ASGI application behind the path."""

    def __init__(self, log: LabelLog, limit: RateLimit, max_rows: int, max_bytes: int, counts: ByLabel) -> None:
        self._log = log
        self._reader = LabelReader(log, max_rows)
        self._limit = limit
        self._max_bytes = max_bytes
        self._counts = counts
        self._is_failing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read labels, record them, say so."""
        try:
            reply = await self._taken(scope, receive)
        except ConnectionResetError:
            return
        except Problem as problem:
            is_probe = PROBE in dict(scope["headers"])
            reply = refusal(problem) if is_probe else self.refuse(problem)
        await respond(send, reply)

    def refuse(self, problem: Problem, labels: int = 1) -> Reply:
        """Count labels that are refused, and say why; a request whose labels nobody counted is one."""
        count(self._counts, "refused", labels)
        return refusal(problem)

    async def _taken(self, scope: Scope, receive: Receive) -> Reply:
        identity, client = scope.get(IDENTITY, ""), scope["client"][0] if scope["client"] else ""
        self._limit.take(*((identity, "identity") if identity else (client,)))
        body = await read_body(self._max_bytes, scope, receive)
        try:
            # In a thread, so that many labels delay no prediction.
            labels = await asyncio.to_thread(self._reader.read, body, identity, datetime.now(UTC))
        except Problem as problem:
            if problem.errors and PROBE not in dict(scope["headers"]):
                return self.refuse(problem, len(self._reader.records(body)[0]))
            raise
        try:
            self._log.write(labels)
        except OSError as error:
            return self._unrecorded(error, len(labels))
        self._is_failing = False
        count(self._counts, "accepted", len(labels))
        return Reply(200, [(b"content-type", b"application/json")], b'{"accepted":%d}' % len(labels))

    def _unrecorded(self, error: OSError, labels: int) -> Reply:
        if not self._is_failing:  # one line for an outage, not one per request
            logger.error("labels are not recorded: %s", error)
        self._is_failing = True
        count(self._counts, "failed", labels)
        return refusal(
            Problem(503, "labels cannot be recorded here now; send them again", headers={"retry-after": "5"})
        )

    def describe(self) -> dict[str, Any]:
        """Its part of the OpenAPI document."""
        return self._reader.describe()


def refusal(problem: Problem) -> Reply:
    """What somebody gets whose labels are not taken."""
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    return Reply(problem.status, [(b"content-type", MEDIA_TYPE.encode()), *headers], problem.body())


def _fields(kind: type[Row]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _without(record: Any, names: Sequence[str]) -> Any:
    return {name: value for name, value in record.items() if name not in names} if isinstance(record, dict) else record


def _item(error: FieldError) -> int:
    """The place of an item in the body."""
    _, _, place = error.pointer.partition("/")
    first = place.partition("/")[0]
    return int(first) if first.isdecimal() else 0


def _moment(value: Any, now: datetime) -> str:
    """What is wrong with the time at which an outcome was known; empty when nothing is."""
    try:
        told = msgspec.convert(value, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError:
        return "must be a time with a zone, such as 2013-07-01T17:30:00Z"
    return "is a time to come" if told > now + _AHEAD else ""
