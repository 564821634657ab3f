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


#: What the prediction log says of each row, beside the row.
LOGGED = {"id", "at", "environment", "version", "digest", "role", "score", "answer"}


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
    `key` names the fields that together name one row, `time` the field that orders rows, if there is one.
    The newest row of a batch is at most `max_age_days` older than the day the batch was taken.
    """

    row: type[Row]
    outcome: type[Row]
    key: tuple[str, ...]
    time: str | None = None
    max_age_days: int | None = None

    def __post_init__(self) -> None:
        names = {field.name for field in (*self.fields, *self.outcome_fields)}
        if taken := names & LOGGED:
            raise TypeError(f"the contract cannot name a field {', '.join(sorted(taken))}: the prediction log does")
        if unknown := {*self.key, self.time or self.key[0]} - {field.name for field in self.fields}:
            raise TypeError(f"the contract's key or time names {', '.join(sorted(unknown))}, which no request holds")

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
        facts: list[Any] = [self.json_schema, self.time, self.key, self.max_age_days]
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


class RowColumns:
    """Turns decoded rows into columns; `frames.columns` does the same for a data frame.

    A server mostly gets single rows, and for them each call into numpy costs more than the work it
    does. So what to do with which field is settled once, and fields that are stored alike become
    columns in one step.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        def placed(*kinds: Kind) -> dict[str, int]:
            return {field.name: place for place, field in enumerate(fields) if field.kind in kinds}

        self._numbers = placed(Kind.NUMBER, Kind.INTEGER, Kind.FLAG)
        self._number_places = list(self._numbers.values())
        self._categories = placed(Kind.CATEGORY)
        self._codes = [(place, fields[place].codes.__getitem__) for place in self._categories.values()]
        self._times = placed(Kind.TIME)
        self._texts = placed(Kind.TEXT)

    def __call__(self, rows: Sequence[Row]) -> dict[str, Column]:
        """Return one array per field, with one value per row; at least one row is needed."""
        values = [*zip(*map(msgspec.structs.astuple, rows), strict=True)]
        numbers = np.array([values[place] for place in self._number_places], dtype=np.float64)  # None becomes NaN
        made: dict[str, Column] = dict(zip(self._numbers, numbers, strict=True))
        if self._codes:
            codes = np.array([[*map(code, values[place])] for place, code in self._codes], dtype=np.int64)
            made.update(zip(self._categories, codes, strict=True))
        for name, place in self._times.items():
            made[name] = np.array(values[place], dtype="datetime64[s]")
        for name, place in self._texts.items():
            made[name] = np.array(["" if value is None else value for value in values[place]], dtype=np.str_)
        return made


def columns(rows: Sequence[Row], fields: tuple[Field, ...]) -> dict[str, Column]:
    """Turn decoded rows into columns, once."""
    return RowColumns(fields)(rows)
