"""Where labels come from: files of this machine, files in a bucket, or the rows of a query."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from slipway.base.buckets import Bucket, is_bucket
from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, numbered, refuse_predictions
from slipway.contract.found import RawFile
from slipway.data import databases, label_files
from slipway.data.label_files import LabelRows, read_rows
from slipway.settings.policy import LabelPolicy
from slipway.settings.project import Project

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The setting, and what a row of its query is said to be from.
_NAME = "labels.query"
_QUERY = RawFile(Path("labels.query"), "query")


def rows_of(project: Project, rule: LabelPolicy, wanted: Collection[str]) -> Iterator[LabelRows]:
    """Read the `wanted` columns of every label there is, some rows at a time; at least once, also without any.

    Raises `MlopsError` for a bucket or a database that is away: labels that are not seen would look like late ones.
    """
    if rule.query:
        yield from _queried(rule, rule.query, [*wanted])
    elif is_bucket(rule.source):
        with tempfile.TemporaryDirectory(prefix="labels-") as name:
            bucket = Bucket(rule.source)
            for one in bucket.files():  # somebody may add to one while it is read: what is there then counts
                bucket.fetch(one._replace(tag=""), Path(name))
            yield from read_rows(Path(name), rule.format, wanted)
    else:
        yield from read_rows(project.root / rule.source, rule.format, wanted)


def _queried(rule: LabelPolicy, query: str, wanted: list[str]) -> Iterator[LabelRows]:
    with databases.reading(rule.source, setting="policy.yaml, labels.source", what="labels", query=_NAME) as connection:
        yield from _rows(connection, query, wanted)


def _rows(connection: Connection, query: str, wanted: list[str]) -> Iterator[LabelRows]:
    """The rows of a query; what the connection would change is never committed."""
    from sqlalchemy import text

    result = connection.execute(text(query))
    names = [*result.keys()]
    if lacking := [name for name in wanted if name not in names]:
        raise MlopsError(
            f"labels.query gives no column {', '.join(lacking)}; it gives {', '.join(names)}",
            "name it in the query, or say in labels.columns how it is called there",
        )
    start = 0
    for rows in result.partitions(label_files.BATCH_ROWS):
        columns = {
            # An empty text is no value, as in a file.
            name: [databases.text_of(row[place], _NAME, name, at) or None for at, row in enumerate(rows, start + 1)]
            for place, name in enumerate(names)
        }
        frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
        refuse_predictions(_QUERY, frame.lazy(), names)
        yield LabelRows(numbered(frame.select(wanted), _QUERY, start), int(not start), [], 0)
        start += len(rows)
    if not start:
        yield LabelRows(pl.DataFrame(schema=dict.fromkeys([*wanted, SOURCE], pl.String)), 1, [], 0)
