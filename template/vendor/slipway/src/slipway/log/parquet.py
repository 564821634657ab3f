"""Lines of a log as Parquet, and back, without a loss.

Each member of the lines' objects is a column: texts, whole numbers, numbers and flags as such, and what is anything
else in one of the lines as JSON, in a column whose name ends in `.json`, as the row that was asked. A line that is no
object is kept as it is, in the column `(line)`.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
import polars as pl

#: Which object a row was in before it was joined with others; see `joining.py`.
OBJECT = "(object)"
_LINE, _JSON, _NAMES = "(line)", ".json", "objects"
#: A line with a member of such a name would not be told from what these columns hold.
_TAKEN = (f'{_LINE}"'.encode(), f'{OBJECT}"'.encode(), f'{_JSON}"'.encode())
_OURS = (_LINE, OBJECT)
_MOST = 2**63
_TYPES: dict[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}


def encode(lines: bytes) -> bytes:
    """A Parquet file with a row for each line, in their order; empty lines are none."""
    told = [line for line in lines.split(b"\n") if line.strip()]
    rows = [_object(line) for line in told]
    others = [None if row is not None else line for row, line in zip(rows, told, strict=True)]
    names = dict.fromkeys(name for row in rows if row is not None for name in row)
    columns = [_column(name, [(row or {}).get(name) for row in rows]) for name in names]
    if any(line is not None for line in others):
        columns.append(pl.Series(_LINE, others, pl.Binary))
    return packed(pl.DataFrame(columns))


def packed(rows: pl.DataFrame, names: Sequence[str] = ()) -> bytes:
    """A Parquet file with these rows; that of a joined object has the names of those whose rows they are."""
    content = io.BytesIO()
    metadata = {_NAMES: msgspec.json.encode(names).decode()} if names else None
    rows.write_parquet(content, compression="zstd", metadata=metadata)
    return content.getvalue()


def stored_rows(content: bytes) -> pl.DataFrame:
    """The rows of an object, as they are."""
    return pl.read_parquet(content, use_statistics=False)


def frame_of(content: bytes, name: str) -> pl.DataFrame:
    """The rows of an object of this name, each with that of the object it was in first."""
    rows = stored_rows(content)
    return rows if OBJECT in rows.columns else rows.with_columns(pl.lit(name).alias(OBJECT))


def without(rows: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The rows that were in none of these objects first."""
    return rows.filter(~pl.col(OBJECT).is_in([*names])) if names else rows


def names_in(content: bytes, name: str) -> list[str]:
    """The names of the objects whose rows an object holds, or held before they were erased."""
    told = pl.read_parquet_metadata(io.BytesIO(content)).get(_NAMES)
    return msgspec.json.decode(told, type=list[str]) if told else [name]


def decode(content: bytes) -> Iterator[bytes]:
    """The lines of a Parquet file, each with its end."""
    return lines_of(stored_rows(content))


def lines_of(rows: pl.DataFrame) -> Iterator[bytes]:
    """The lines that these rows are, each with its end."""
    encoder = msgspec.json.Encoder()
    names = [(name, name.removesuffix(_JSON), name.endswith(_JSON)) for name in rows.columns if name not in _OURS]
    for row in rows.iter_rows(named=True):
        if (line := row.get(_LINE)) is not None:
            yield line + b"\n"
            continue
        given = ((own, row[name], is_json) for name, own, is_json in names)
        yield encoder.encode({
            own: msgspec.Raw(value.encode()) if is_json else value for own, value, is_json in given if value is not None
        }) + b"\n"  # fmt: skip


def with_id(content: bytes, id_: str) -> Iterator[bytes]:
    """The lines of a Parquet file with this id."""
    if "id" not in pl.read_parquet_schema(io.BytesIO(content)):
        return iter(())
    if not (pl.read_parquet(content, columns=["id"])["id"] == id_).any():
        return iter(())
    return lines_of(stored_rows(content).filter(pl.col("id") == id_))


def _object(line: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of a line, as they are written; `None` for what would not come back as it was."""
    if any(name in line for name in _TAKEN):
        return None
    try:
        line.decode()
        row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return row or None


def _column(name: str, written: list[msgspec.Raw | None]) -> pl.Series:
    """A column of one type, or of JSON where there is no such type for all of them."""
    there = [bytes(value) for value in written if value is not None]
    if all(value[:1] not in b"{[" for value in there):
        values = msgspec.json.decode(b"[" + b",".join(there) + b"]")
        kinds = {type(value) for value in values}
        (kind,) = kinds if len(kinds) == 1 else (None,)
        if kind in _TYPES and (kind is not int or all(-_MOST <= value < _MOST for value in values)):
            coming = iter(values)
            return pl.Series(name, [None if value is None else next(coming) for value in written], _TYPES[kind])
    return pl.Series(
        f"{name}{_JSON}", [None if value is None else bytes(value).decode() for value in written], pl.String
    )
