"""Pictures that lie in files of their own beside a table, which names each by `file:PATH#sha256=DIGEST`.

The path leads from the table's folder to a file in it or below it, so that a version of the data has both. The digest
says that it is the picture which the row was written for.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.found import RawFile
from slipway.contract.pictures import reference
from slipway.team import CONTRACT

_SCHEME = "file:"
_URI = re.compile(r"^file:([^#]+)#sha256=([0-9a-f]{64})$")


def fetched(frame: pl.DataFrame, file: RawFile, start: int) -> pl.DataFrame:
    """A part of a raw file, whose rows begin behind `start` others, with pictures in place of what names them.

    They are in base64, as a table itself may hold them. Raises `MlopsError` for a name that leads to no such file.
    """
    for field in CONTRACT.pictures:
        if field.name in frame.columns and frame.schema[field.name] == pl.String:
            given = enumerate(frame[field.name], start=start + 1)
            read = [_read(text, file, row) if (text or "").startswith(_SCHEME) else text for row, text in given]
            frame = frame.with_columns(pl.Series(field.name, read, pl.String))
    return frame


def _read(text: str, file: RawFile, row: int) -> str:
    named = _URI.match(text)
    if named is None:
        raise _unfit(file, row, f"{text[:80]} is no file:PATH#sha256=DIGEST", "write the digest that sha256sum gives")
    folder = file.path.parent.resolve()
    path = (folder / Path(unquote(named[1]))).resolve()
    if not path.is_relative_to(folder):
        raise _unfit(
            file, row, f"{named[1][:80]} leads out of {folder.name}/", "keep pictures beside or below the table"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unfit(file, row, f"{named[1][:80]} cannot be read: {error.strerror}", "is the path right?") from None
    if reference(content) != f"sha256:{named[2]}":
        raise _unfit(file, row, f"{named[1][:80]} is another picture than its digest says", "write the digest anew")
    return base64.b64encode(content).decode()


def _unfit(file: RawFile, row: int, what: str, next_step: str) -> MlopsError:
    return MlopsError(f"row {row:,} of {file.path}: {what}", next_step)
