"""Data frames against the contract: reading raw files, checking every rule, making columns.

The rules themselves live in the contract; `schema.py` is its counterpart for single requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.rows import Column, Columns, Contract, Field, FieldKind, Row
from slipway.contract.rules import RULES
from slipway.team import CONTRACT

#: Where a raw row came from, so that a complaint can name it: file and row, the first row being 1.
SOURCE = "source_row"

#: Columns that only the prediction log has, and what a batch writes beside each answer. Data that carries either is a
#: model's own output.
PREDICTION_MARKS = {"digest", "score", "answer"}
MODEL_COLUMN, DIGEST = "model", "^sha256:[0-9a-f]{64}$"

_READERS = {".csv": "csv", ".gz": "csv", ".parquet": "parquet"}
_FIRST_ROWS = 3

#: How a data file may hold a field so that nothing is lost or guessed; anything else is read as text.
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
_STORED: dict[FieldKind, tuple[Any, ...]] = {
    FieldKind.INTEGER: _WHOLE,
    FieldKind.NUMBER: (*_WHOLE, pl.Float64),
    FieldKind.FLAG: (pl.Boolean,),
    FieldKind.CATEGORY: (pl.String,),
    FieldKind.TEXT: (pl.String,),
    FieldKind.TIME: (pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")),
}


@dataclass(frozen=True)
class Violation:
    """A rule that some rows broke, with the first of them and the values they have."""

    field: str
    rule: str
    rows: int
    examples: list[str]

    def __str__(self) -> str:
        return f"{self.field}: {self.rule} in {self.rows:,} rows, first {', '.join(self.examples)}"


def files_of(source: Path) -> list[Path]:
    """The data files of a source: itself, or every file of a folder in the order of their names."""
    paths = sorted(p for p in source.iterdir() if p.suffix in _READERS) if source.is_dir() else [source]
    if not paths or not paths[0].is_file():
        raise MlopsError(
            f"there is no raw data in {source}",
            "fetch it with `dvc pull`, or name your data in params.yaml, data.source (.csv, .csv.gz or .parquet)",
        )
    return paths


def read_raw(source: Path) -> pl.DataFrame:
    """Read a file, or every file of a folder in the order of their names, as text.

    Nothing is guessed: types are the contract's business. Each row gets a `source_row`.
    """
    return pl.concat([_read_file(path) for path in files_of(source)], how="diagonal")


def read_chunks(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    """Read a file that may be larger than memory, `rows` rows at a time, in its order.

    Text stays text; what a Parquet file holds as the contract does stays as it is, which is faster.
    """
    with _told_of(path):
        parts = _scan(path).collect_batches(chunk_size=rows, maintain_order=True)
        start, held = 0, pl.DataFrame()
        for part in parts:
            held = pl.concat([held, part]) if held.height else part
            while held.height >= rows:
                yield _numbered(held.head(rows), path, start)
                start, held = start + rows, held.slice(rows)
        if held.height or start == 0:
            yield _numbered(held if held.width else _scan(path).head(0).collect(), path, start)


def spread(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Return at most so many rows, evenly spread from the first to the last, and always the same."""
    if frame.height <= rows:
        return frame
    picked: pl.DataFrame = frame[np.linspace(0, frame.height - 1, rows).astype(int).tolist()]
    return picked


def read_spread(path: Path, rows: int) -> pl.DataFrame:
    """Return at most so many rows of a file as text, evenly spread over it and numbered as they are there."""
    with _told_of(path):
        scanned = _scan(path).cast(pl.String, strict=False)
        step = max(1, -(-scanned.select(pl.len()).collect().item() // rows))
        frame = scanned.with_row_index(SOURCE, offset=1).gather_every(step).collect()
    return frame.with_columns(pl.concat_str(pl.lit("row "), SOURCE).alias(SOURCE))


def _scan(path: Path) -> pl.LazyFrame:
    if path.suffix not in _READERS:
        raise MlopsError(f"{path} is neither .csv, .csv.gz nor .parquet", "convert it to one of them")
    if _READERS[path.suffix] == "csv":
        return pl.scan_csv(path, infer_schema=False, null_values=[""])
    stored = pl.scan_parquet(path)
    kept = {field.name: _STORED[field.kind] for field in CONTRACT.fields}
    schema = stored.collect_schema()
    return stored.with_columns(
        pl.col(name).cast(pl.String, strict=False) for name, dtype in schema.items() if dtype not in kept.get(name, ())
    )


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise MlopsError(
            f"{path} cannot be read: {str(error).splitlines()[0]}", "is it whole, and what its ending says?"
        ) from None


def _read_file(path: Path) -> pl.DataFrame:
    with _told_of(path):
        frame = _scan(path).cast(pl.String, strict=False).collect()
    return _numbered(frame, path, 0)


def _numbered(frame: pl.DataFrame, path: Path, start: int) -> pl.DataFrame:
    """Say where each row came from, unless these are a model's own answers."""
    names_a_model = MODEL_COLUMN in frame.columns and frame[MODEL_COLUMN].str.contains(DIGEST).any()
    if set(frame.columns) >= PREDICTION_MARKS or names_a_model:
        raise MlopsError(
            f"{path} holds predictions: a model's answers must not come back as training data or labels",
            "take the rows from where they were observed, not from what was predicted",
        )
    row = (pl.int_range(1, pl.len() + 1) + start).cast(pl.String)
    return frame.with_columns((pl.lit(f"{path.name}:") + row).alias(SOURCE))


def parse(raw: pl.DataFrame, fields: tuple[Field, ...]) -> tuple[pl.DataFrame, list[Violation]]:
    """Give raw text its types and check every rule of `fields`.

    Returns the typed frame (with `source_row`) and what is wrong with it; an empty list means
    that each row is what the contract promises. Columns that the contract does not know are dropped.
    """
    missing = [
        Violation(field.name, "the column is missing", raw.height, ["row 1"])
        for field in fields
        if field.name not in raw.columns
    ]
    known = [field for field in fields if field.name in raw.columns]
    typed = raw.select(SOURCE, *(_typed(field, is_text=raw.schema[field.name] == pl.String) for field in known))
    found = [violation for field in known for violation in _broken_rules(raw, typed, field)]
    return typed, missing + found


def _typed(field: Field, *, is_text: bool) -> pl.Expr:
    text = pl.col(field.name)
    if not is_text:
        dtypes = {FieldKind.INTEGER: pl.Int64(), FieldKind.NUMBER: pl.Float64(), FieldKind.TIME: pl.Datetime("ms")}
        return text.cast(dtypes[field.kind]) if field.kind in dtypes else text
    match field.kind:
        case FieldKind.INTEGER:
            # "12.0" is how some tools write an integer column that once had gaps.
            number = text.cast(pl.Float64, strict=False)
            return pl.when(number == number.round()).then(number).cast(pl.Int64, strict=False).alias(field.name)
        case FieldKind.NUMBER:
            return text.cast(pl.Float64, strict=False)
        case FieldKind.FLAG:
            return text.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
        case FieldKind.CATEGORY:
            return text.cast(pl.Enum(field.categories), strict=False)
        case FieldKind.TIME:
            return text.str.to_datetime(time_unit="ms", time_zone=None, strict=False, ambiguous="null")
        case FieldKind.TEXT:
            return text


def _broken_rules(raw: pl.DataFrame, typed: pl.DataFrame, field: Field) -> list[Violation]:
    given, value = raw[field.name], typed[field.name]
    rules: list[tuple[str, pl.Series]] = [(f"must be {field.type_in_words}", given.is_not_null() & value.is_null())]
    if not field.optional:
        rules.append(("a value is missing", given.is_null()))
    if field.kind is FieldKind.NUMBER:
        rules.append(("must be finite", ~value.is_finite()))
    rules += [(RULES[name].sentence(limit), ~RULES[name].column(value, limit)) for name, limit in field.limits]
    return [_violation(field, rule, broken, raw) for rule, broken in rules if broken.any()]


def _violation(field: Field, rule: str, broken: pl.Series, raw: pl.DataFrame) -> Violation:
    first = raw.filter(broken.fill_null(False)).head(_FIRST_ROWS)
    examples = [f"{source} = {value}" for source, value in first.select(SOURCE, field.name).iter_rows()]
    return Violation(field.name, rule, int(broken.sum()), examples)


def duplicates(frame: pl.DataFrame, contract: Contract) -> list[Violation]:
    """Find rows whose key was seen before: the same event told twice."""
    again = frame.filter(~pl.struct(contract.key).is_first_distinct())
    if again.is_empty():
        return []
    return [
        Violation(
            "+".join(contract.key), "the key is not unique", again.height, again[SOURCE].head(_FIRST_ROWS).to_list()
        )
    ]


def as_rows(frame: pl.DataFrame) -> list[Row]:
    """Turn a typed frame into the rows that a client would send."""
    named = frame.select(field.name for field in CONTRACT.fields).to_dicts()
    return msgspec.convert(named, list[CONTRACT.row])  # type: ignore[name-defined]


def columns(frame: pl.DataFrame, fields: tuple[Field, ...]) -> Columns:
    """Turn a typed frame into columns, exactly as `schema.columns` does for decoded requests.

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
        case FieldKind.TEXT:
            return np.array(series.fill_null("").to_list(), dtype=np.str_)
        case _:
            return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
