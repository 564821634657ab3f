"""Saying no over HTTP: problem details (RFC 9457) that name the field and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from slipway.contract.rows import Contract, Field, FieldKind, Row

MEDIA_TYPE = "application/problem+json"

#: As many as a person mends in one go, and a bound on the answer to a body that is wrong everywhere.
MAX_ERRORS = 20

#: From here on, a number with a point need not be the integer that somebody meant.
EXACT = 2**53

#: What a compressed body begins with (gzip, zstd, bzip2), and what a text does that is not plain UTF-8.
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one value; `pointer` says where it stands in the body (RFC 6901).

    `value` is for the record of refusals and not answered: who sent it knows it. It is unset where there is none.
    """

    pointer: str
    detail: str
    field: str
    value: Any = msgspec.UNSET

    @property
    def public(self) -> dict[str, str]:
        """What the client gets to read."""
        return {"pointer": self.pointer, "detail": self.detail, "field": self.field}


class Problem(Exception):  # noqa: N818 - the standard's own word
    """A request that gets no prediction: the status, and a body that helps to mend it."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors or []
        self.headers = dict(headers or {})

    def body(self, **more: str) -> bytes:
        """The problem as JSON; `more` are members that clients of another protocol look for."""
        content: dict[str, Any] = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **more,
        }
        if self.errors:
            content["errors"] = [error.public for error in self.errors]
        return msgspec.json.encode(content)


def not_json(body: bytes, error: Exception) -> Problem:
    """Say what a body is that cannot be read as JSON: what it begins with, or which word in it JSON does not have."""
    if not body.strip():
        return Problem(400, "the body is empty; it must be JSON")
    if body.startswith(_COMPRESSED):
        return Problem(415, "the body is compressed; send it as it is")
    if body.startswith(_MARKS):
        return Problem(400, "the body begins with a byte-order mark; send JSON in UTF-8 without one")
    if isinstance(error, RecursionError):
        return Problem(400, "the body is nested too deeply")
    try:
        pointer, word = next(_words(json.loads(body, parse_constant=_Word), "#"), ("", ""))
    except (ValueError, RecursionError):
        pointer = word = ""
    if not word:
        return Problem(400, f"the body is not JSON: {error}")
    detail = f"is {word}, which is no value in JSON; send null for what is not known"
    return Problem(400, f"the body is not JSON: {pointer} {detail}", [FieldError(pointer, detail, "(body)")])


class _Word(str):
    """NaN or Infinity, which some clients write into what should be JSON."""

    __slots__ = ()


def _words(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Each such word in a parsed body, and where it stands."""
    if isinstance(value, _Word):
        yield pointer, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _words(part, f"{pointer}/{_short(str(name))}")


def reread(body: bytes, contract: Contract, error: Exception, max_rows: int, *, is_one: bool) -> list[Row]:
    """Read a body without haste that the decoder refused with `error`, and return its rows after all.

    What the decoder is strict about may be right for the contract, see `rows_of`. Raises `Problem` otherwise, which
    names every faulty field; the decoder stops at the first. A body that `is_one` row has no list of rows in it.
    """
    try:
        document = msgspec.json.decode(body)
    except msgspec.ValidationError as wrong:  # a number that no computer word can hold
        raise Problem(422, str(wrong).partition(" - at")[0], [_from_decoder(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise not_json(body, broken) from None
    has_others = isinstance(document, dict) and len(document) > 1
    if not isinstance(document, dict) or "rows" not in document or (is_one and has_others):
        return rows_of([document], contract, error)
    if is_one or has_others:
        raise Problem(422, 'a request with many rows is {"rows": [...]} and nothing else', [_from_decoder(error)])
    return many_rows(document["rows"], contract, error, max_rows)


def many_rows(records: Any, contract: Contract, error: Exception, max_rows: int) -> list[Row]:
    """The rows of a parsed list; raises `Problem` when it holds none or too many, and as `rows_of` does."""
    if not isinstance(records, list) or not records:
        raise Problem(422, "rows is not a list with at least one row", [FieldError("#/rows", str(error), "(rows)")])
    if len(records) > max_rows:
        raise Problem(413, f"{len(records):,} rows are more than the {max_rows:,} that one request may hold")
    return rows_of(records, contract, error, "#/rows/{}")


def rows_of(records: list[Any], contract: Contract, error: Exception, place: str = "#") -> list[Row]:
    """Parsed objects as rows; `place` says where each stands.

    An integer may be written as 371.0, as in training data, and a time is settled as the contract has it. Raises
    `Problem` that names every faulty value, and has `error` to say where none is found.
    """
    mended = [_with_integers(record, contract) for record in records]
    try:
        rows: list[Row] = msgspec.convert(mended, list[contract.row])  # type: ignore[name-defined]
        if all(contract.settle(row) is None for row in rows):
            return rows
    except (msgspec.ValidationError, RecursionError) as wrong:
        error = wrong
    errors: list[FieldError] = []
    for number, row in enumerate(mended):
        errors += _row_errors(row, contract, place.format(number))
        if len(errors) >= MAX_ERRORS:
            break
    errors = errors[:MAX_ERRORS] or [_from_decoder(error)]
    what = "the row breaks" if place == "#" else "rows break"
    raise Problem(422, f"{what} the contract in {_count(errors)}", errors)


def _with_integers(record: Any, contract: Contract) -> Any:
    if not isinstance(record, dict):
        return record
    given = {name: record.get(name) for name in contract.integers}
    return record | {name: whole(value) for name, value in given.items() if isinstance(value, float)}


def whole(value: Any) -> Any:
    """A number without a fraction as an integer, if it is one that is not rounded; anything else as it is.

    >>> whole(371.0), whole(371.5), whole(1e300), whole("371.0")
    (371, 371.5, 1e+300, '371.0')
    """
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < EXACT
    return int(value) if is_whole else value


def _count(errors: list[FieldError]) -> str:
    if len(errors) == MAX_ERRORS:
        return f"{MAX_ERRORS} or more places"
    return "1 place" if len(errors) == 1 else f"{len(errors)} places"


def _row_errors(row: Any, contract: Contract, pointer: str) -> Iterator[FieldError]:
    if not isinstance(row, dict):
        yield FieldError(pointer, f"is not an object with the fields of a row: {_shown(row)}", "(row)")
        return
    types = {info.encode_name: info.type for info in msgspec.structs.fields(contract.row)}
    for field in contract.fields:
        place = f"{pointer}/{field.name}"
        if field.name not in row:
            unknown = " (null when it is not known)" if field.optional else ""
            yield FieldError(place, f"is missing{unknown}", field.name)
            continue
        try:
            value = msgspec.convert(row[field.name], types[field.name])
        except (msgspec.ValidationError, RecursionError) as wrong:
            value = row[field.name]
            yield FieldError(place, _fault(field, value, wrong), field.name, value)
            continue
        if field.picture and (fault := field.picture.fault(value)):
            yield FieldError(place, f"Expected {field.type_in_words}, and this {fault}", field.name, row[field.name])
        if field.kind is FieldKind.TIME and field.broken_by(value) == "other":
            given = row[field.name]
            yield FieldError(place, f"Expected {field.type_in_words}, got {_shown(given)}", field.name, given)
    for name in row.keys() - types.keys():
        yield FieldError(f"{pointer}/{_short(name)}", "is not a field of the contract", "(unknown)")


def _short(name: str) -> str:
    """A name in a pointer (RFC 6901)."""
    return name[:60].replace("~", "~0").replace("/", "~1")


def _fault(field: Field, value: Any, wrong: Exception) -> str:
    if field.picture:
        return f"Expected {field.type_in_words}, and this {field.picture.fault(value)}"
    return f"{_rule(field, wrong)}, got {_shown(value)}"


def _rule(field: Field, wrong: Exception) -> str:
    if field.kind in (FieldKind.CATEGORY, FieldKind.TIME):
        return f"Expected {field.type_in_words}"
    return str(wrong).partition(" - at")[0].replace("`", "")


def _from_decoder(error: Exception) -> FieldError:
    detail, _, place = str(error).partition(" - at `$")
    parts = place.rstrip("`").replace("[", ".").replace("]", "").split(".")
    return FieldError("/".join(["#", *parts[1:]]), detail.replace("`", ""), parts[-1] or "(row)")


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
