"""What a log or a reference holds of a row: all of it, but of a picture its digest and a few numbers.

The numbers are columns of their own beside the picture's, `picture.brightness` and so on: see `pictures.Numbers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from slipway.contract.pictures import Numbers, Picture, reference
from slipway.contract.rows import Contract, Field, FieldKind, Row


@cache
def fields_of(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields of a log, for these of a contract."""
    return tuple(one for field in fields for one in (field, *_beside(field)))


def with_numbers(contract: Contract, names: Iterable[str]) -> list[str]:
    """These names of columns, and of each that is a picture the names of its numbers."""
    given = [*names]
    return given + [one.name for field in contract.pictures if field.name in given for one in _beside(field)]


def row_of(contract: Contract, row: Row) -> dict[str, Any]:
    """What a log holds of a row: values as JSON has them."""
    told: dict[str, Any]
    if not contract.pictures:
        told = msgspec.to_builtins(row)
        return told
    given = {field.name: getattr(row, field.name) for field in contract.pictures}
    told = msgspec.to_builtins(msgspec.structs.replace(row, **dict.fromkeys(given, b"")))
    for field in contract.pictures:
        told |= picture_of(field, given[field.name])
    return told


def picture_of(field: Field, content: bytes) -> dict[str, Any]:
    """What a log holds in place of a picture. Raises `ValueError` for bytes that are not what the field asks for."""
    picture = picture_in(field)
    numbers = Numbers.of(picture)
    told = zip(numbers.names, numbers(picture.read(content).pixels), strict=True)
    return {field.name: reference(content), **{f"{field.name}.{name}": value for name, value in told}}


def picture_in(field: Field) -> Picture:
    """What a picture in this field must be."""
    assert field.picture is not None  # noqa: S101 - only of fields that are pictures
    return field.picture


def _beside(field: Field) -> list[Field]:
    names = Numbers.of(field.picture).names if field.picture else ()
    return [Field(f"{field.name}.{name}", FieldKind.NUMBER) for name in names]
