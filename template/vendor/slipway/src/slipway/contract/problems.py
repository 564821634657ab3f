"""Saying no over HTTP: problem details (RFC 9457) that name the field and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from slipway.contract.rows import Contract, Field, FieldKind

MEDIA_TYPE = "application/problem+json"

#: As many as a person mends in one go, and a bound on the answer to a body that is wrong everywhere.
MAX_ERRORS = 20


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


def refusal(body: bytes, contract: Contract, error: Exception, max_rows: int) -> Problem:
    """Turn a body that the decoder refused with `error` into a problem that names every faulty field.

    The decoder is fast and stops at the first fault; here the body is read again without haste.
    """
    try:
        document = msgspec.json.decode(body)
    except msgspec.ValidationError as wrong:  # a number that no computer word can hold
        return Problem(422, str(wrong).partition(" - at")[0], [_from_decoder(error)])
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        return Problem(400, f"the body is not JSON: {broken}")
    except RecursionError:
        return Problem(400, "the body is nested too deeply")
    if isinstance(document, dict) and "rows" in document:
        return _refuse_many(document, contract, error, max_rows)
    errors = list(_row_errors(document, contract, "#"))[:MAX_ERRORS] or [_from_decoder(error)]
    return Problem(422, f"the row breaks the contract in {_count(errors)}", errors)


def _refuse_many(document: dict[str, Any], contract: Contract, error: Exception, max_rows: int) -> Problem:
    rows = document["rows"]
    if not isinstance(rows, list) or not rows:
        return Problem(422, "rows is not a list with at least one row", [FieldError("#/rows", str(error), "(rows)")])
    if len(rows) > max_rows:
        return Problem(413, f"{len(rows):,} rows are more than the {max_rows:,} that one request may hold")
    errors: list[FieldError] = []
    for number, row in enumerate(rows):
        errors += _row_errors(row, contract, f"#/rows/{number}")
        if len(errors) >= MAX_ERRORS:
            break
    errors = errors[:MAX_ERRORS] or [_from_decoder(error)]
    return Problem(422, f"rows break the contract in {_count(errors)}", errors)


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
            msgspec.convert(row[field.name], types[field.name])
        except (msgspec.ValidationError, RecursionError) as wrong:
            value = row[field.name]
            yield FieldError(place, f"{_rule(field, wrong)}, got {_shown(value)}", field.name, value)
    for name in row.keys() - types.keys():
        short = name[:60].replace("~", "~0").replace("/", "~1")
        yield FieldError(f"{pointer}/{short}", "is not a field of the contract", "(unknown)")


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
