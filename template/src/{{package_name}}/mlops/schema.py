"""What a row looks like: the machinery behind the team's `contract.py`.

One `Contract` serves three times: raw batches and training frames are checked against it in
`frames.py`, and requests are decoded into its row type by the server. This module stays light
(no data-frame library), because every server process imports it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

#: One value per row. Numbers are floats with NaN for "missing", categories are their position in
#: the contract's list with -1 for "missing", times are `datetime64[s]`, texts are strings.
Column = NDArray[Any]
Columns = Mapping[str, Column]


class Row(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of the team's row types: every field typed, no field beyond the declared ones."""


class Kind(Enum):
    """How a field's values are stored and compared."""

    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"
    CATEGORY = "category"
    TEXT = "text"
    TIME = "time"


@dataclass(frozen=True)
class Field:
    """One column of the contract; `bounds` pairs an operator (`ge`, `gt`, `le`, `lt`) with its limit."""

    name: str
    kind: Kind
    optional: bool = False
    bounds: tuple[tuple[str, float], ...] = ()
    categories: tuple[str, ...] = ()
    pattern: str | None = None

    @cached_property
    def codes(self) -> dict[str | None, int]:
        """Position of each category; a missing value is -1."""
        return {None: -1} | {name: code for code, name in enumerate(self.categories)}


@dataclass(frozen=True)
class Contract:
    """What the project promises about its rows.

    `row` holds what is known when a prediction is asked for, `outcome` what becomes known later.
    `time` names the field that orders rows, `key` the fields that together name one row.
    The newest row of a batch is at most `max_age_days` older than the day the batch was taken.
    """

    row: type[Row]
    outcome: type[Row]
    time: str
    key: tuple[str, ...]
    max_age_days: int

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields a request holds."""
        return fields_of(self.row)

    @cached_property
    def outcome_fields(self) -> tuple[Field, ...]:
        """The fields that become known later."""
        return fields_of(self.outcome)

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of a request row, as published in the API page and in each bundle."""
        (schema,), components = msgspec.json.schema_components([self.row], ref_template="#/components/schemas/{name}")
        return {"row": schema, "components": components}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything above: equal fingerprints accept and refuse the same rows."""
        facts = [self.json_schema, self.time, self.key, self.max_age_days]
        facts.append(msgspec.json.schema(self.outcome))
        encoded = msgspec.json.encode(facts, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()


def fields_of(row: type[Row]) -> tuple[Field, ...]:
    """Read the fields out of a row type.

    Raises `TypeError` for a type that no contract column can have.
    """
    info = msgspec.inspect.type_info(row)
    if not isinstance(info, msgspec.inspect.StructType):
        raise TypeError(f"{row.__name__} is not a Row")
    return tuple(_field(field.encode_name, field.type) for field in info.fields)


_PLAIN_KINDS: dict[type[msgspec.inspect.Type], Kind] = {
    msgspec.inspect.IntType: Kind.INTEGER,
    msgspec.inspect.FloatType: Kind.NUMBER,
    msgspec.inspect.BoolType: Kind.FLAG,
    msgspec.inspect.StrType: Kind.TEXT,
    msgspec.inspect.LiteralType: Kind.CATEGORY,
    msgspec.inspect.DateTimeType: Kind.TIME,
}


def _field(name: str, declared: msgspec.inspect.Type) -> Field:
    optional = False
    if isinstance(declared, msgspec.inspect.UnionType) and declared.includes_none:
        optional = True
        kept = [t for t in declared.types if not isinstance(t, msgspec.inspect.NoneType)]
        declared = kept[0] if len(kept) == 1 else declared
    while isinstance(declared, msgspec.inspect.Metadata):
        declared = declared.type
    kind = _PLAIN_KINDS.get(type(declared))
    if kind is None:
        raise TypeError(f"contract field {name} has a type that a column cannot have: {declared}")
    bounds = tuple(
        (operator, float(limit))
        for operator in ("ge", "gt", "le", "lt")
        if (limit := getattr(declared, operator, None)) is not None
    )
    return Field(
        name=name,
        kind=kind,
        optional=optional,
        bounds=bounds,
        categories=tuple(str(value) for value in getattr(declared, "values", ())),
        pattern=getattr(declared, "pattern", None),
    )


def columns(rows: Sequence[Row], fields: tuple[Field, ...]) -> dict[str, Column]:
    """Turn decoded rows into columns; `frames.columns` does the same for a data frame."""
    return {field.name: _column([getattr(row, field.name) for row in rows], field) for field in fields}


def _column(values: list[Any], field: Field) -> Column:
    if field.kind is Kind.CATEGORY:
        codes = field.codes
        return np.array([codes[value] for value in values], dtype=np.int64)
    if field.kind is Kind.TIME:
        return np.array(values, dtype="datetime64[s]")
    if field.kind is Kind.TEXT:
        return np.array(["" if value is None else value for value in values], dtype=np.str_)
    return np.array(values, dtype=np.float64)  # None becomes NaN
