"""Files of labels: each is read, or left out by name, since one that cannot be read must not hide the others.

They are read like raw data; beside its formats, a file may hold one JSON object a line (`.jsonl`, `.ndjson`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, numbered, read_file, read_pieces, refuse_predictions, require_columns
from slipway.contract.found import RawFile, each_of
from slipway.settings.params import FileFormat

JSON_LINES = (".jsonl", ".ndjson")


#: About so many rows are given at once: text needs far more memory than values.
BATCH_ROWS = 50_000
#: A file that is larger is read in pieces.
_LARGE_BYTES = 8_000_000


@dataclass(frozen=True)
class LabelRows:
    """Rows of some files as text, in the order of the files' names and of their lines.

    `left_out` says of each file that could not be read why; `torn` is how many lines of JSON were none.
    """

    frame: pl.DataFrame
    files: int
    left_out: list[str]
    torn: int


def read_rows(source: Path, form: FileFormat, wanted: Collection[str]) -> Iterator[LabelRows]:
    """Read the `wanted` columns of every file of a source, some rows at a time; at least once, also without any."""
    frames = [pl.DataFrame(schema=dict.fromkeys([*wanted, SOURCE], pl.String))]
    files, left_out, torn = 0, list[str](), 0
    for file in each_of(source, JSON_LINES):
        is_read = False
        try:
            for frame, lost in _pieces(file, form, wanted):
                if sum(one.height for one in frames) >= BATCH_ROWS:
                    yield LabelRows(pl.concat(frames), files, left_out, torn)
                    frames, files, left_out, torn = [], 0, [], 0
                frames.append(frame.select([*wanted, SOURCE]))
                files, torn, is_read = files + (not is_read), torn + lost, True
        except MlopsError as error:
            left_out.append(error.problem)
        except OSError as error:
            left_out.append(f"a file of {source} cannot be read: {error}")
    yield LabelRows(pl.concat(frames), files, left_out, torn)


def _pieces(
    file: RawFile | MlopsError, form: FileFormat, wanted: Collection[str]
) -> Iterator[tuple[pl.DataFrame, int]]:
    """Rows of a file, and how many of its lines between them are none; nothing of a file that cannot be read."""
    if isinstance(file, MlopsError):
        raise file
    if file.path.suffix.lower() in JSON_LINES:
        yield from _json_lines(file, form, wanted)
    elif file.path.stat().st_size > _LARGE_BYTES:
        yield from ((frame, 0) for frame in read_pieces(file, BATCH_ROWS, form, wanted))
    else:
        yield read_file(file, form, wanted), 0


def _json_lines(file: RawFile, form: FileFormat, wanted: Collection[str]) -> Iterator[tuple[pl.DataFrame, int]]:
    """The rows of a file of JSON objects, once its columns are known."""
    names = list(dict.fromkeys(name for row in _objects(file) for name in row or ()))
    refuse_predictions(file, pl.LazyFrame(schema=dict.fromkeys(names, pl.Null)), names)
    added = {name: value for name, value in file.partition.items() if name not in names}
    require_columns(file, wanted, [*names, *added] if names else [*wanted])
    missing, lines, start = {"", *form.missing}, _objects(file), 0
    while (read := [*islice(lines, BATCH_ROWS)]) or not start:
        columns = {
            name: [None if row is None else _text(row.get(name, added.get(name)), missing) for row in read]
            for name in wanted
        }
        is_row = pl.Series([row is not None for row in read], dtype=pl.Boolean)
        frame = numbered(pl.DataFrame(columns, schema=dict.fromkeys(wanted, pl.String)), file, start).filter(is_row)
        yield frame, len(read) - frame.height
        start += len(read) or 1


def _objects(file: RawFile) -> Iterator[dict[str, Any] | None]:
    """What each line that is not empty holds; `None` for one that holds no object."""
    with file.path.open("rb") as lines:
        yield from (_object(line) for line in lines if line.strip())


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(value: Any, missing: Collection[str]) -> str | None:
    """A value as a file of separated values has it; `None` for no value."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return None if value is None or text in missing else text
