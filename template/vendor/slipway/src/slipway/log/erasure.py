"""Erasing what the logs of an environment hold of one subject, and the record that it was done.

A subject is named by a column of the contract and its value, or by the id of an answer. Erased are answers, the labels
that were posted of them, and what the record of refusals holds of that value. Raw data, files of labels and models are
no logs, and are not touched.
"""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.log import masks, posted, predictions, refusals
from slipway.log.bucket import BucketSink
from slipway.log.store import ERASURES, ErasingSink, sink_of
from slipway.settings.project import Project
from slipway.team import CONTRACT

#: Where the records are, beside the logs.
LOG = ERASURES


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an erasure: what of which environment, how many lines, when, by whom and for which `ticket`.

    The value is not in it: that would be the very thing that was to go.
    """

    id: str
    at: datetime
    environment: str
    key: str
    predictions: int
    refusals: int
    by: str
    ticket: str = ""
    labels: int = 0


def erase(project: Project, environment: str, key: str, ticket: str = "", *, dry_run: bool = False) -> Erasure:
    """Erase every line of a subject from the logs of an environment, look whether it is gone, and record that.

    `key` is like `flight=SQ12`. A dry run counts and changes nothing. Raises `MlopsError` for a key that names no
    column, where the log is in a place that cannot erase, and where lines are still there afterwards.
    """
    name, is_meant = _subject(project, environment, key)
    is_meant[posted.LOG] = _of_any(project, environment, is_meant)
    found = dict.fromkeys(predictions.LOGS, 0)
    for log in (posted.LOG, refusals.LOG, predictions.LOG):  # labels are found by what predictions still say
        sink = sink_of(project, log, environment)
        if not isinstance(sink, ErasingSink):
            raise MlopsError(
                f"the log of {environment} is at {project.policy.serving.log}, which cannot erase single lines",
                "give that sink a method `erase`, as vendor/slipway/docs/seams.md has it",
            )
        found[log] = sum(map(is_meant[log], sink.scan(None, None))) if dry_run else sink.erase(is_meant[log])
        left = 0 if dry_run else sum(map(is_meant[log], sink.scan(None, None)))
        if left:
            raise MlopsError(
                f"{left} lines with {name} came in while {found[log]} were erased from the log of {environment}",
                "run this again",
            )
    record = Erasure(
        id=secrets.token_hex(6), at=datetime.now(UTC), environment=environment, key=name, ticket=ticket,
        predictions=found[predictions.LOG], refusals=found[refusals.LOG], labels=found[posted.LOG],
        by=getpass.getuser(),
    )  # fmt: skip
    if not dry_run:
        _record(project, record)
    return record


def records(project: Project, environment: str) -> list[Erasure]:
    """What was erased from the logs of an environment, the first first."""
    lines = sink_of(project, LOG, environment).scan(None, None)
    return [msgspec.json.decode(line, type=Erasure) for line in lines if line.strip()]


def _record(project: Project, record: Erasure) -> None:
    sink = sink_of(project, LOG, record.environment)
    try:
        sink.append(msgspec.json.encode(record) + b"\n")
    except OSError as error:
        raise MlopsError(
            f"{record.predictions} answers and {record.refusals} refusals are erased; that cannot be recorded: {error}",
            f"write down {record.id} of {record.at:%Y-%m-%d %H:%M} yourself",
        ) from None
    sink.close()
    if isinstance(sink, BucketSink):  # nothing may run here that uploads
        sink.upload()


def _subject(project: Project, environment: str, key: str) -> tuple[str, dict[str, Callable[[bytes], bool]]]:
    """The name in a key, and for each log what tells that a line is meant."""
    name, is_given, text = key.partition("=")
    known = ["id", *(field.name for field in CONTRACT.fields)]
    if name not in known or not is_given or not text:
        raise MlopsError(
            f"--key {key} names no column and value", f"write COLUMN=VALUE; choose from {', '.join(known)}", exit_code=2
        )
    values = _readings(text)
    if name == "id":
        return name, {
            predictions.LOG: _has_id(text),
            refusals.LOG: lambda _: False,
            posted.LOG: lambda line: _is(line, "key", lambda key: key.get("id") == text),
        }
    path = masks.folder(project.state, environment) / "log.key"
    if path.is_file():
        mask = masks.Mask({name: "hash"}, path.read_bytes())
        values += [mask.hash(name, value) for value in values]
    written = {msgspec.json.encode(value).decode() for value in values}
    return name, {
        predictions.LOG: lambda line: _is(line, "row", lambda row: row.get(name) in values),
        refusals.LOG: lambda line: _is(line, "value", written.__contains__) and _is(line, "field", name.__eq__),
        posted.LOG: lambda line: _is(line, "key", lambda key: key.get(name) in values),
    }


def _of_any(
    project: Project, environment: str, is_meant: dict[str, Callable[[bytes], bool]]
) -> Callable[[bytes], bool]:
    """What tells that a label is meant: by its own key, or as the label of a prediction that is."""
    of_itself = is_meant[posted.LOG]
    named = {tuple(label.key) for label in posted.read(project, environment) if label}
    if not named:
        return of_itself
    keys = set[bytes]()
    for line in sink_of(project, predictions.LOG, environment).scan(None, None):
        if is_meant[predictions.LOG](line):
            told = msgspec.json.decode(line, type=dict[str, Any])
            row = told["row"] | {"id": told.get("id")}
            keys |= {_key_of({name: row.get(name) for name in names}) for names in named}
    return lambda line: of_itself(line) or _is(line, "key", lambda key: _key_of(key) in keys)


def _key_of(key: dict[str, Any]) -> bytes:
    return msgspec.json.encode(key, order="sorted")


def _readings(text: str) -> list[Any]:
    """What a value in a row may be that a person writes like this."""
    try:
        read = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return [text]
    return [text, read] if isinstance(read, int | float) else [text]


def _has_id(id_: str) -> Callable[[bytes], bool]:
    return lambda line: _is(line, "id", id_.__eq__)


def _is(line: bytes, member: str, holds: Callable[[Any], bool]) -> bool:
    """Whether a member of a line is there and what is asked holds of it."""
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
        return member in found and bool(holds(found[member]))
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError):
        return False
