"""Reading raw files as text: of the columns that count each row, with its source."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from slipway.base.errors import MlopsError, first_line
from slipway.contract import separated
from slipway.contract.found import RawFile, files_of
from slipway.contract.picture_files import fetched
from slipway.contract.rows import FieldKind
from slipway.settings.params import FileFormat
from slipway.team import CONTRACT

#: Where a raw row came from, so that a complaint can name it: file and row, the first row being 1.
SOURCE = "source_row"

#: Columns that only the prediction log has, and what a batch writes beside each answer. Data that carries either is a
#: model's own output.
PREDICTION_MARKS = {"digest", "score", "answer"}
MODEL_COLUMN, DIGEST = "model", "^sha256:[0-9a-f]{64}$"

PLAIN = FileFormat()

#: How a data file may hold a field so that nothing is lost or guessed; anything else is read as text.
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
_STORED: dict[FieldKind, tuple[Any, ...]] = {
    FieldKind.INTEGER: _WHOLE,
    FieldKind.NUMBER: (*_WHOLE, pl.Float64),
    FieldKind.FLAG: (pl.Boolean,),
    FieldKind.CATEGORY: (pl.String,),
    FieldKind.TEXT: (pl.String,),
    FieldKind.PICTURE: (pl.Binary,),
}
_TIMES = (pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns"))
#: What has no text of its own.
_NO_TEXT = (pl.List, pl.Array, pl.Struct, pl.Duration, pl.Object)


def contract_columns(*, with_outcome: bool = True) -> list[str]:
    """The columns that the contract knows."""
    return [field.name for field in CONTRACT.fields + (CONTRACT.outcome_fields if with_outcome else ())]


def read_raw(source: Path, form: FileFormat = PLAIN, wanted: Collection[str] | None = None) -> pl.DataFrame:
    """Read the `wanted` columns (those of the contract by default) of a file, or of all files of a folder, as text.

    Nothing is guessed: types are the contract's business. Each row gets a `source_row`. Raises `MlopsError` for a file
    that lacks one of the columns.
    """
    names = contract_columns() if wanted is None else wanted
    return pl.concat([read_file(file, form, names) for file in files_of(source)])


def read_file(file: RawFile, form: FileFormat, wanted: Collection[str]) -> pl.DataFrame:
    """Read one file like `read_raw`."""
    with _scanned(file, form, wanted) as scanned:
        return numbered(fetched(_as_text(file, scanned).collect(), file, 0), file, 0)


def read_pieces(file: RawFile, rows: int, form: FileFormat, wanted: Collection[str]) -> Iterator[pl.DataFrame]:
    """Read one file like `read_file`, which may be larger than memory, so many rows at a time.

    Nothing is given before all of it was read once, so that of a file that is torn there is nothing.
    """
    with tempfile.TemporaryDirectory(prefix="text-") as name:
        copy = Path(name, "text.parquet")
        with _scanned(file, form, wanted) as scanned:
            _as_text(file, scanned).sink_parquet(copy, compression="lz4", row_group_size=rows)
        held = pl.scan_parquet(copy)
        for start in range(0, max(1, int(held.select(pl.len()).collect().item())), rows):
            yield numbered(held.slice(start, rows).collect(), file, start)


def unused_columns(file: RawFile, form: FileFormat = PLAIN) -> set[str]:
    """The columns of a file that the contract does not know, which nobody reads."""
    return set(_columns_in(file, form)) - {*contract_columns(), SOURCE}


def columns_of(source: Path, form: FileFormat = PLAIN) -> dict[str, set[str]]:
    """Every column of the files of a source, with the types that it has in them; separated values are all text."""
    found: dict[str, set[str]] = {}
    for file in files_of(source):
        for name, dtype in _columns_in(file, form).items():
            found.setdefault(name, set()).add(str(dtype))
    return found


def _columns_in(file: RawFile, form: FileFormat) -> pl.Schema:
    with _scanned(file, form) as scanned:
        return scanned.collect_schema()


def known_rows(file: RawFile) -> int | None:
    """How many rows a Parquet file says that it has; text says nothing."""
    if not file.is_parquet:
        return None
    with _told_of(file):
        return int(pl.scan_parquet(file.path, glob=False).select(pl.len()).collect().item())


def read_chunks(
    file: RawFile, rows: int, form: FileFormat = PLAIN, start: int = 0, length: int | None = None
) -> Iterator[pl.DataFrame]:
    """Read the contract's columns of a file that may be larger than memory, `rows` rows at a time, in its order.

    Text stays text; what a Parquet file holds as the contract does stays as it is, which is faster. With `start` and
    `length` no more than that stretch of the file is read.
    """
    with _scanned(file, form, contract_columns(with_outcome=False)) as scanned:
        yield from _chunks(file, _as_stored(file, scanned), rows, start, length)


def read_texts(
    file: RawFile, rows: int, form: FileFormat = PLAIN, start: int = 0, length: int | None = None
) -> Iterator[pl.DataFrame]:
    """The same, with the outcome and all of it as text, as `read_raw` gives it."""
    with _scanned(file, form, contract_columns()) as scanned:
        yield from _chunks(file, _as_text(file, scanned), rows, start, length)


def _chunks(file: RawFile, columns: pl.LazyFrame, rows: int, start: int, length: int | None) -> Iterator[pl.DataFrame]:
    if start or length is not None:
        columns = columns.slice(start, length)
    is_first, held = True, pl.DataFrame()
    for part in columns.collect_batches(chunk_size=rows, maintain_order=True):
        held = pl.concat([held, part]) if held.height else part
        while held.height >= rows:
            yield numbered(fetched(held.head(rows), file, start), file, start)
            is_first, start, held = False, start + rows, held.slice(rows)
    if held.height or is_first:
        last = held if held.width else columns.head(0).collect()
        yield numbered(fetched(last, file, start), file, start)


def read_spread(file: RawFile, rows: int, form: FileFormat = PLAIN) -> pl.DataFrame:
    """Return at most so many rows of all columns as text, evenly spread over a file and numbered as they are there."""
    with _scanned(file, form) as scanned:
        step = max(1, -(-scanned.select(pl.len()).collect().item() // rows))
        frame = scanned.with_row_index(SOURCE, offset=1).gather_every(step).collect()
    shown = [_any_as_text(frame[name]) for name in frame.columns if name != SOURCE]
    return pl.DataFrame([*shown, pl.Series(SOURCE, [f"row {number}" for number in frame[SOURCE]], pl.String)])


@contextmanager
def _scanned(file: RawFile, form: FileFormat, wanted: Collection[str] = ()) -> Iterator[pl.LazyFrame]:
    """Scan the `wanted` columns of a file, or all of them, with those that its path names."""
    with _told_of(file), _opened(file, form, wanted) as scanned:
        names = scanned.collect_schema().names()
        refuse_predictions(file, scanned, names)
        added = {name: value for name, value in file.partition.items() if name not in names}
        require_columns(file, wanted, [*names, *added])
        scanned = scanned.with_columns(pl.lit(value, pl.String).alias(name) for name, value in added.items())
        yield scanned.select(wanted) if wanted else scanned


@contextmanager
def _opened(file: RawFile, form: FileFormat, wanted: Collection[str]) -> Iterator[pl.LazyFrame]:
    if file.is_parquet:
        yield pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
    else:
        with separated.opened(file, form, wanted) as scanned:
            yield scanned


@contextmanager
def _told_of(file: RawFile) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, UnicodeError, EOFError, OSError) as error:
        told = f"{file.path} cannot be read: {first_line(error)}"
        raise MlopsError(told, "is it whole, and what its ending says?") from None


def _as_text(file: RawFile, scanned: pl.LazyFrame) -> pl.LazyFrame:
    return scanned.with_columns(_text_of(file, name, dtype) for name, dtype in scanned.collect_schema().items())


def _as_stored(file: RawFile, scanned: pl.LazyFrame) -> pl.LazyFrame:
    kept = {field.name: _TIMES if _is_plain_time(field) else _STORED.get(field.kind, ()) for field in CONTRACT.fields}
    schema = scanned.collect_schema()
    return scanned.with_columns(
        _text_of(file, name, dtype) for name, dtype in schema.items() if dtype not in kept.get(name, ())
    )


def _is_plain_time(field: Any) -> bool:
    return field.kind is FieldKind.TIME and not field.zoned


def _text_of(file: RawFile, name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, _NO_TEXT):
        raise MlopsError(
            f"column {name} of {file.path} holds values of type {dtype}, which no field of a contract can",
            "write it as a number, a text or a time",
        )
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return pl.col(name).dt.to_string("%Y-%m-%dT%H:%M:%S%.f%:z")
    if isinstance(dtype, pl.Binary) and any(field.name == name for field in CONTRACT.pictures):
        return pl.col(name).bin.encode("base64")
    return pl.col(name).cast(pl.String)


def _any_as_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, (*_NO_TEXT, pl.Binary)):
        return pl.Series(column.name, [None if one is None else str(one) for one in column.to_list()], pl.String)
    return column.cast(pl.String)


def require_columns(file: RawFile, wanted: Collection[str], names: list[str]) -> None:
    """Raise `MlopsError` where a file lacks wanted columns."""
    if lacking := [name for name in wanted if name not in names]:
        raise MlopsError(
            f"{file.path} has no column {', '.join(lacking)}; it has {', '.join(names)}",
            f"are they named otherwise there, or separated otherwise? a separator is named {separated.NAMED}",
        )


def refuse_predictions(file: RawFile, scanned: pl.LazyFrame, names: list[str]) -> None:
    """Raise `MlopsError` where a file holds a model's own answers."""
    is_answer = set(names) >= PREDICTION_MARKS
    if MODEL_COLUMN in names and scanned.collect_schema()[MODEL_COLUMN] == pl.String:
        is_answer = is_answer or bool(scanned.select(pl.col(MODEL_COLUMN).str.contains(DIGEST).any()).collect().item())
    if is_answer:
        raise MlopsError(
            f"{file.path} holds predictions: a model's answers must not come back as training data or labels",
            "take the rows from where they were observed, not from what was predicted",
        )


def numbered(frame: pl.DataFrame, file: RawFile, start: int) -> pl.DataFrame:
    """Say where each row came from, of which `start` rows of the file are before."""
    row = (pl.int_range(1, pl.len() + 1) + start).cast(pl.String)
    return frame.with_columns((pl.lit(f"{file.name}:") + row).alias(SOURCE))
