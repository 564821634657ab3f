"""Taking raw data from where it is: the rows of a query as Parquet, or the objects of a bucket as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from slipway.base.buckets import Bucket
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.base.numbers import counted
from slipway.data import databases
from slipway.data.label_files import BATCH_ROWS
from slipway.forge import git
from slipway.settings.params import SnapshotParams
from slipway.settings.project import Project

_SETTING = "params.yaml, data.snapshot"
#: How often a long query shows that it lives.
_TOLD_ROWS = 20 * BATCH_ROWS

#: Each column with the types that its values had where they came from.
Types = dict[str, set[str]]


def statement_of(project: Project, query: str) -> str:
    """The statement in a query's file.

    Raises `MlopsError` for a file that is in no commit as it is here, or that holds more than one statement.
    """
    path = project.root / query
    if not path.is_file():
        raise MlopsError(f"{_SETTING}.query: there is no file {query}", "write the query there, and commit it")
    git.require_committed(project.root, query)
    if git.at_commit(project.root, git.head(project.root), query) is None:
        raise MlopsError(f"{query} is in no commit", "commit it: a snapshot names the query that made it")
    text = path.read_text("utf-8").strip().removesuffix(";").rstrip()
    # A driver of PostgreSQL sends all that stands in a text, and the second statement could end the transaction.
    if not text or ";" in text:
        raise MlopsError(
            f"{query} holds {'a semicolon within its text' if text else 'no statement'}",
            "one statement makes a snapshot, which may end with a semicolon and has no other",
        )
    return text


def fetch_rows(project: Project, rule: SnapshotParams, query: str, folder: Path, log: Log) -> Types:
    """Write the rows of a query into files of a folder, in its order, some thousand rows each, every value as text.

    The contract reads text by rules of its own, so that nothing is cast on the way. Raises `MlopsError` for what the
    database complains of, for no rows, and for a value that has no text.
    """
    statement = statement_of(project, query)
    with databases.reading(
        rule.source, setting=f"{_SETTING}.source", what="raw data", query=query, kinds=databases.READ_ONLY
    ) as connection:
        result = connection.execution_options(no_parameters=True).exec_driver_sql(statement)
        names = [*result.keys()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise MlopsError(f"{query} gives {', '.join(twice)} more than once", "name each column once, with `as`")
        types: Types = {name: set() for name in names}
        start = 0
        for number, rows in enumerate(result.partitions(BATCH_ROWS)):
            for name, values in zip(names, zip(*rows, strict=True), strict=True):
                types[name] |= {type(value).__name__ for value in values if value is not None}
            frame = _as_texts([*map(tuple, rows)], names, query, start)
            _write(frame, folder / f"part-{number:05}.parquet")
            start += len(rows)
            if start % _TOLD_ROWS == 0:
                log(f"{start:,} rows so far")
    if not start:
        raise MlopsError(f"{query} gives no row", "look at its conditions, and at the tables that it reads")
    return types


def _as_texts(rows: list[tuple[Any, ...]], names: list[str], query: str, start: int) -> pl.DataFrame:
    """Rows as text, of which `start` of the query's are before."""
    columns = {
        name: [databases.text_of(row[place], query, name, at) for at, row in enumerate(rows, start + 1)]
        for place, name in enumerate(names)
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))


def _write(frame: pl.DataFrame, path: Path) -> None:
    try:
        frame.write_parquet(path, compression="zstd")
    except pl.exceptions.PolarsError as error:
        # What the disk says comes as an error of the format.
        raise OSError(str(error).partition("\n")[0]) from None


def fetch_files(address: str, folder: Path, log: Log) -> None:
    """Copy the objects below a bucket's address into a folder, a part of one at a time.

    Raises `MlopsError` for a bucket that is away, for none, and where somebody writes there meanwhile.
    """
    bucket = Bucket(address)
    objects = bucket.files()
    if not objects:
        raise MlopsError(f"there is nothing in {address}", f"look at {_SETTING}.source, and who fills the bucket")
    log(f"{counted(len(objects), 'object')} of {sum(one.size for one in objects) / 1e6:,.1f} MB in {address}")
    for one in objects:
        bucket.fetch(one, folder)
    if bucket.files() != objects:
        raise MlopsError(f"{address} was changed while it was read", "run this again when nobody writes there")
