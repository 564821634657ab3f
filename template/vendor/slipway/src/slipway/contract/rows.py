"""What a row looks like: the machinery behind the team's `contract.py`.

One `Contract` serves three times: raw batches and training frames are checked against it in
`frames.py`, and requests are decoded into its row type by the server. Every process imports this
module, so it needs neither a data-frame library nor numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cached_property
from math import isfinite
from typing import Any, get_args, get_type_hints

import msgspec

from slipway.base.errors import MlopsError
from slipway.contract import times
from slipway.contract.pictures import Picture
from slipway.contract.rules import RULES, Limit

#: What the prediction log says of each row, beside the row.
LOGGED = {"id", "at", "environment", "version", "digest", "role", "score", "answer"}
#: Names that mean something else wherever rows are: the source of a raw row, what labels say of it, and how a request
#: with many rows begins.
_TAKEN = {
    **dict.fromkeys(LOGGED, "the prediction log has that name for something of its own"),
    "source_row": "it says which file a raw row is from",
    "is_due": "the monitor says by it whether a label should be there",
    "truth": "the monitor has that name for what happened",
    "rows": "a request with many rows begins with it",
}


class Row(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of the team's row types: every field typed, no field beyond the declared ones."""


class FieldKind(Enum):
    """How a field's values are stored and compared."""

    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"
    CATEGORY = "category"
    TEXT = "text"
    TIME = "time"
    PICTURE = "picture"


@dataclass(frozen=True)
class Field:
    """One column of the contract; `limits` pairs each rule of the table `RULES` that its type sets with the limit.

    A time that is `zoned` has a zone, see `times.py`. A `picture` says what a picture must be.
    """

    name: str
    kind: FieldKind
    optional: bool = False
    limits: tuple[tuple[str, Limit], ...] = ()
    categories: tuple[str, ...] = ()
    zoned: bool = False
    picture: Picture | None = None

    @property
    def bounds(self) -> tuple[tuple[str, float], ...]:
        """The limits that can be moved to let more values in."""
        return tuple((rule, float(limit)) for rule, limit in self.limits if RULES[rule].moves)

    def with_bounds(self, bounds: Iterable[tuple[str, float]]) -> Field:
        """Return this field with other bounds; its other limits stay."""
        return replace(self, limits=(*bounds, *(one for one in self.limits if not RULES[one[0]].moves)))

    @cached_property
    def codes(self) -> dict[str | None, int]:
        """Position of each category; a missing value is -1."""
        return {None: -1} | {name: code for code, name in enumerate(self.categories)}

    @property
    def type_in_words(self) -> str:
        """What a value must be, as people are told."""
        match self.kind:
            case FieldKind.CATEGORY:
                return f"one of {', '.join(self.categories)}"
            case FieldKind.FLAG:
                return "true or false"
            case FieldKind.TIME:
                return times.asked(zoned=self.zoned)
            case FieldKind.PICTURE:
                return str(self.picture)
            case kind:
                return f"{'an' if kind.value[0] in 'aeiou' else 'a'} {kind.value}"

    def broken_by(self, value: Any) -> str | None:
        """Name the rule that a value breaks; `None` when it keeps all of them.

        That is a rule of the table, `category`, `missing` for null, `absent` for a field that was left out
        (`msgspec.UNSET`), `picture` for what is not the picture that it must be, or `other` for another type.
        """
        if value is msgspec.UNSET:
            return "absent"
        if value is None:
            return None if self.optional else "missing"
        if not _is_of(self, value):
            return "picture" if self.picture else "other"
        if self.kind is FieldKind.CATEGORY and value not in self.categories:
            return "category"
        return next((rule for rule, limit in self.limits if not RULES[rule].keeps(value, limit)), None)


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
        names = [field.name for field in (*self.fields, *self.outcome_fields)]
        for name in names:
            if name in _TAKEN:
                raise _unfit(f"cannot name a field {name}: {_TAKEN[name]}", f"give it another name, like {name}_1")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise _unfit(f"names {twice[0]} in a row and in its outcome", "give one of them another name")
        asked = [field.name for field in self.fields]
        if not self.key:
            raise _unfit("has no key", f"name the fields that together name one row: key=({asked[0]!r},)")
        for name in (*self.key, *([self.time] if self.time else [])):
            if name not in asked:
                place = "time" if name == self.time else "key"
                raise _unfit(f"names {name} as its {place}, which no request holds", f"choose from {', '.join(asked)}")
        if "model" in self.key:
            raise _unfit("has model in its key, and a batch writes there who answered", "name the field otherwise")
        for field in (*self.fields, *self.outcome_fields):
            if field.picture and (field.optional or field.name in self.key or field.name not in asked):
                raise _unfit(
                    f"has {field.name}, a picture, in its key, in its outcome or where it may be missing",
                    "a request holds each picture, and what names a row is a number or a text",
                )
        if self.time and (kind := self.fields[asked.index(self.time)].kind) is not FieldKind.TIME:
            raise _unfit(f"names {self.time} as its time, which is of the type {kind.value}", "name a datetime")

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields a request holds."""
        return fields_of(self.row)

    @cached_property
    def outcome_fields(self) -> tuple[Field, ...]:
        """The fields that become known later."""
        return fields_of(self.outcome)

    def settle(self, row: Row) -> Field | None:
        """Put the times of a decoded row into UTC where they have a zone, and look at its pictures.

        Returns the field whose time has a zone and must not, or has none and must, or whose picture is another one
        than it must be; `None` where all is well.
        """
        for field in self.pictures:
            try:
                setattr(row, field.name, field.picture.read(getattr(row, field.name)))  # type: ignore[union-attr]
            except ValueError:
                return field
        for field in self._times:
            moment = getattr(row, field.name)
            if moment is not None:
                settled = times.kept(moment, zoned=field.zoned)
                if settled is None:
                    return field
                setattr(row, field.name, settled)
        return None

    @cached_property
    def integers(self) -> tuple[str, ...]:
        """The names of the fields that are integers."""
        return tuple(field.name for field in self.fields if field.kind is FieldKind.INTEGER)

    @cached_property
    def pictures(self) -> tuple[Field, ...]:
        """The fields that are pictures."""
        return tuple(field for field in self.fields if field.picture is not None)

    @cached_property
    def _times(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.kind is FieldKind.TIME)

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of a request row, as published in the API page and in each bundle."""
        (schema,), components = msgspec.json.schema_components([self.row], ref_template="#/components/schemas/{name}")
        for field in self.pictures:
            components[self.row.__name__]["properties"][field.name].update(field.picture.schema)  # type: ignore[union-attr]
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

    Raises `MlopsError` for a type that no contract column can have.
    """
    info = msgspec.inspect.type_info(row)
    if not isinstance(info, msgspec.inspect.StructType):
        raise _unfit(f"holds {row!r}, which is no Row", "write class Name(Row) with a field for each column")
    hints = get_type_hints(row, include_extras=True)
    return tuple(_field(field.encode_name, field.type, _picture(hints[field.name])) for field in info.fields)


def _picture(annotation: Any) -> Picture | None:
    """The `Picture` in an annotation, wherever it stands in it; msgspec passes over it."""
    if isinstance(annotation, Picture):
        return annotation
    inside = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return next((found for one in inside if (found := _picture(one))), None)


_FIELD_KINDS: dict[type[msgspec.inspect.Type], FieldKind] = {
    msgspec.inspect.IntType: FieldKind.INTEGER,
    msgspec.inspect.FloatType: FieldKind.NUMBER,
    msgspec.inspect.BoolType: FieldKind.FLAG,
    msgspec.inspect.StrType: FieldKind.TEXT,
    msgspec.inspect.LiteralType: FieldKind.CATEGORY,
    msgspec.inspect.DateTimeType: FieldKind.TIME,
    msgspec.inspect.BytesType: FieldKind.PICTURE,
}
_TYPES = "float, int, bool, str, Literal of texts, datetime, and each of them | None, or Annotated[bytes, Picture(...)]"


def _field(name: str, declared: msgspec.inspect.Type, picture: Picture | None) -> Field:
    optional = False
    if isinstance(declared, msgspec.inspect.UnionType) and declared.includes_none:
        optional = True
        kept = [t for t in declared.types if not isinstance(t, msgspec.inspect.NoneType)]
        declared = kept[0] if len(kept) == 1 else declared
    while isinstance(declared, msgspec.inspect.Metadata):
        declared = declared.type
    kind = _FIELD_KINDS.get(type(declared))
    if kind is None or (kind is FieldKind.PICTURE) is not (picture is not None):
        given = type(declared).__name__.removesuffix("Type")
        raise _unfit(f"gives {name} a type that no column can have: {given}", f"choose from {_TYPES}")
    values = getattr(declared, "values", ())
    if numbers := [value for value in values if not isinstance(value, str)]:
        texts = ", ".join(f'"{value}"' for value in values)
        raise _unfit(
            f"gives {name} a category that is a number: {numbers[0]}",
            f"write its categories as texts, Literal[{texts}], or an integer with bounds, Meta(ge=..., le=...)",
        )
    limits = tuple((rule, limit) for rule in RULES if (limit := getattr(declared, rule, None)) is not None)
    if picture is not None:
        if limits:
            raise _unfit(f"gives {name}, a picture, a Meta with {limits[0][0]}", "say it in Picture(...): max_bytes")
        return Field(name=name, kind=kind, optional=optional, picture=picture)
    zoned = getattr(declared, "tz", None) is True
    return Field(name=name, kind=kind, optional=optional, limits=limits, categories=tuple(values), zoned=zoned)


def _unfit(what: str, next_step: str) -> MlopsError:
    return MlopsError(f"contract.py {what}", next_step)


def _is_of(field: Field, value: Any) -> bool:
    match field.kind:
        case FieldKind.FLAG:
            return isinstance(value, bool)
        case FieldKind.TIME:
            return isinstance(value, datetime) and times.kept(value, zoned=field.zoned) is not None
        case FieldKind.CATEGORY | FieldKind.TEXT:
            return isinstance(value, str)
        case FieldKind.PICTURE:
            return field.picture is not None and not field.picture.fault(value)
        case FieldKind.NUMBER | FieldKind.INTEGER:
            is_number = isinstance(value, int) or (isinstance(value, float) and isfinite(value))
            return is_number and not isinstance(value, bool) and (field.kind is FieldKind.NUMBER or value == int(value))
