"""Reading raw files: .csv, .csv.gz and .parquet, as text, each row with its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.rows import FieldKind
from slipway.team import CONTRACT

#: Where a raw row came from, so that a complaint can name it: file and row, the first row being 1.
SOURCE = "source_row"

#: Columns that only the prediction log has, and what a batch writes beside each answer. Data that carries either is a
#: model's own output.
PREDICTION_MARKS = {"digest", "score", "answer"}
MODEL_COLUMN, DIGEST = "model", "^sha256:[0-9a-f]{64}$"

_READERS = {".csv": "csv", ".gz": "csv", ".parquet": "parquet"}

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
