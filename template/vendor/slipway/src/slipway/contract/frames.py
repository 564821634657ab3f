"""Data frames against the contract: checking every rule, making columns.

The rules themselves are in `rules.py`; the server checks single requests by the row type itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from slipway.base.numbers import counted
from slipway.contract import logged, texts
from slipway.contract.columns import Column, Columns
from slipway.contract.files import PLAIN, SOURCE
from slipway.contract.pictures import Picture
from slipway.contract.rows import Contract, Field, FieldKind, Row
from slipway.contract.rules import RULES
from slipway.settings.params import FileFormat
from slipway.team import CONTRACT

_FIRST_ROWS = 3
#: The number of a row in the order in which rows came.
ROW = "source_order"


@dataclass(frozen=True)
class Violation:
    """A rule that some rows broke, with the first of them and the values they have.

    `hint` says what to do where that has a name, and `place` which rules are told before.
    """

    field: str
    rule: str
    rows: int
    examples: list[str]
    hint: str = ""
    place: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        broken = f"{self.rule}{self.hint} in {counted(self.rows, 'row')}"
        return f"{self.field}: {broken}, first {', '.join(self.examples)}"


def merged(violations: Iterable[Violation]) -> list[Violation]:
    """Say of each rule once how many rows of all parts broke it; the parts come in the order of their rows."""
    found: dict[tuple[str, str], Violation] = {}
    for one in violations:
        before = found.setdefault((one.field, one.rule), replace(one, rows=0, examples=[]))
        found[one.field, one.rule] = replace(
            before,
            rows=before.rows + one.rows,
            examples=[*before.examples, *one.examples][:_FIRST_ROWS],
            hint=before.hint or one.hint,
        )
    return sorted(found.values(), key=lambda one: one.place)


def spread(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Return at most so many rows, evenly spread from the first to the last, and always the same."""
    if frame.height <= rows:
        return frame
    picked: pl.DataFrame = frame[np.linspace(0, frame.height - 1, rows).astype(int).tolist()]
    return picked


def parse(
    raw: pl.DataFrame, fields: tuple[Field, ...], form: FileFormat = PLAIN
) -> tuple[pl.DataFrame, list[Violation]]:
    """Give raw text, written in `form`, its types and check every rule of `fields`.

    Returns the typed frame (with `source_row`) and what is wrong with it; an empty list means
    that each row is what the contract promises. Columns that the contract does not know are dropped.
    """
    missing = [
        Violation(field.name, "the column is missing", raw.height, ["row 1"], place=(-1, place))
        for place, field in enumerate(fields)
        if field.name not in raw.columns
    ]
    known = [field for field in fields if field.name in raw.columns]
    types = {field.name: raw.schema[field.name] for field in known}
    typed = raw.select(SOURCE, *(_typed(field, types[field.name], form) for field in known))
    found = [
        _violation(field, rule, raw, (place, rule.place))
        for place, field in enumerate(known)
        for rule in _broken_rules(raw, typed, field)
    ]
    return typed, missing + found


def sift(
    raw: pl.DataFrame, fields: tuple[Field, ...], form: FileFormat = PLAIN
) -> tuple[pl.DataFrame, list[Violation]]:
    """The same, but without the rows that break a rule: the violations say what they broke.

    Every column must be there.
    """
    typed, violations = parse(raw, fields, form)
    broken = pl.zeros(raw.height, pl.Boolean, eager=True)
    for field in fields:
        for rule in _broken_rules(raw, typed, field):
            broken |= rule.rows.fill_null(False)
    return typed.filter(~broken), violations


def _typed(field: Field, dtype: pl.DataType, form: FileFormat) -> pl.Expr:
    column = pl.col(field.name)
    if dtype == pl.String:
        return texts.typed(column, field, form).alias(field.name)
    dtypes = {FieldKind.INTEGER: pl.Int64(), FieldKind.NUMBER: pl.Float64(), FieldKind.TIME: pl.Datetime("ms")}
    return column.cast(dtypes[field.kind]) if field.kind in dtypes else column


class _Broken(NamedTuple):
    """A rule, the rows that break it, what helps, and the rule's place among those of its field."""

    rule: str
    rows: pl.Series
    hint: str = ""
    place: int = 0


def _broken_rules(raw: pl.DataFrame, typed: pl.DataFrame, field: Field) -> list[_Broken]:
    """The rules that rows break, each with which rows these are."""
    given, value = raw[field.name], typed[field.name]
    unread = given.is_not_null() & value.is_null()
    if field.picture is not None:
        return _broken_pictures(field.picture, given, value)
    rules = [_Broken(f"must be {field.type_in_words}", unread, _hint(field, given.filter(unread)))]
    if not field.optional:
        rules.append(_Broken("a value is missing", given.is_null()))
    if field.kind is FieldKind.NUMBER:
        rules.append(_Broken("must be finite", ~value.is_finite()))
    rules += [_Broken(RULES[name].sentence(limit), ~RULES[name].column(value, limit)) for name, limit in field.limits]
    return [rule._replace(place=place) for place, rule in enumerate(rules) if rule.rows.any()]


def _broken_pictures(picture: Picture, given: pl.Series, value: pl.Series) -> list[_Broken]:
    faults = ["is missing" if text is None else picture.fault(one) for text, one in zip(given, value, strict=True)]
    found = pl.Series(faults, dtype=pl.String)
    kinds = sorted({fault for fault in faults if fault})
    return [_Broken(f"must be {picture}, and one {fault}", found == fault) for fault in kinds]


def _hint(field: Field, unread: pl.Series) -> str:
    """What to write where the values are written in a way that has a name."""
    if unread.is_empty() or unread.dtype != pl.String:
        return ""
    if field.kind is FieldKind.TIME and not unread.str.contains(r"^\d{4}-\d\d-\d\d").all():
        return "; another format has to be named as format.time"
    is_number = field.kind in (FieldKind.NUMBER, FieldKind.INTEGER)
    if is_number and unread.str.contains(r"^[+-]?[\d.]*,\d+$").any():
        return "; a decimal comma has to be named as format.decimal"
    if field.kind is FieldKind.INTEGER and (unread.cast(pl.Float64, strict=False).abs() >= texts.EXACT).any():
        return "; one as large has to be stored as an integer of 64 bits or as its digits, to lose none"
    return ""


def _violation(field: Field, broken: _Broken, raw: pl.DataFrame, place: tuple[int, int]) -> Violation:
    first = raw.filter(broken.rows.fill_null(False)).head(_FIRST_ROWS)
    shown = first.select(SOURCE, field.name).iter_rows()
    examples = [source if field.picture else f"{source} = {value}" for source, value in shown]
    return Violation(field.name, broken.rule, int(broken.rows.sum()), examples, broken.hint, place)


class Repeated(NamedTuple):
    """Rows whose key was seen before: how many, which columns of it some of them lack, and the first of them."""

    rows: int
    lacking: frozenset[str]
    first: pl.DataFrame


def repeated(frame: pl.DataFrame, contract: Contract) -> Repeated:
    """Find rows whose key was seen before: the same event told twice. `ROW` is the order of the rows."""
    again = frame.filter(~pl.struct(contract.key).is_first_distinct())
    lacking = frozenset(name for name in contract.key if again[name].null_count())
    return Repeated(again.height, lacking, again.select(ROW, SOURCE).head(_FIRST_ROWS))


def duplicates(parts: Iterable[Repeated], contract: Contract) -> list[Violation]:
    """Say what is repeated in parts that hold all rows of a key each."""
    found = [part for part in parts if part.rows]
    if not found:
        return []
    lacking = ", ".join(name for name in contract.key if any(name in part.lacking for part in found))
    rule = "the key is not unique" + (f", as {lacking} is missing" if lacking else "")
    first = pl.concat([part.first for part in found]).sort(ROW)[SOURCE].head(_FIRST_ROWS).to_list()
    return [Violation("+".join(contract.key), rule, sum(part.rows for part in found), first)]


def as_rows(frame: pl.DataFrame) -> list[Row]:
    """Turn a typed frame into the rows that a client would send."""
    named = frame.select(field.name for field in CONTRACT.fields).to_dicts()
    return msgspec.convert(named, list[CONTRACT.row])  # type: ignore[name-defined]


def as_logged(frame: pl.DataFrame) -> pl.DataFrame:
    """The contract's columns of a typed frame as a log holds them: see `logged.py`."""
    made = frame.select(field.name for field in CONTRACT.fields)
    for field in CONTRACT.pictures:
        told = pl.DataFrame([logged.picture_of(field, content) for content in frame[field.name]])
        made = made.with_columns(told)
    return made.select(field.name for field in logged.fields_of(CONTRACT.fields))


def columns(frame: pl.DataFrame, fields: tuple[Field, ...]) -> Columns:
    """Turn a typed frame into columns, exactly as `columns.columns` does for decoded requests.

    A column is made when it is asked for: texts are dear, and few features are made from them.
    """
    return _Columns(frame, fields)


class _Columns(Columns):
    def __init__(self, frame: pl.DataFrame, fields: tuple[Field, ...]) -> None:
        self._frame = frame
        self._fields = {field.name: field for field in fields}
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            self._made[name] = _column(self._frame[name], self._fields[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def _column(series: pl.Series, field: Field) -> Column:
    match field.kind:
        case FieldKind.CATEGORY:
            codes = series.cast(pl.Enum(field.categories)).to_physical()
            return codes.cast(pl.Int64).fill_null(-1).to_numpy()
        case FieldKind.TIME:
            return series.to_numpy().astype("datetime64[s]")
        case FieldKind.PICTURE:
            picture = logged.picture_in(field)
            return np.stack([picture.read(content).pixels for content in series])
        case FieldKind.TEXT:
            return np.array(series.fill_null("").to_list(), dtype=np.str_)
        case _:
            return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
