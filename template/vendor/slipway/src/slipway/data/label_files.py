"""Files of labels: each is read, or left out by name, since one that cannot be read must not hide the others.

They are read like raw data; beside its formats, a file may hold one JSON object a line (`.jsonl`, `.ndjson`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.files import SOURCE, numbered, read_file, refuse_predictions, require_columns
from slipway.contract.found import RawFile, each_of
from slipway.settings.params import FileFormat

JSON_LINES = (".jsonl", ".ndjson")


#: So many rows are given at once, or those of one file: text needs far more memory than values.
BATCH_ROWS = 50_000


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
    """Read the `wanted` columns of every file of a source, some files at a time; at least once, also without any."""
    empty = pl.DataFrame(schema=dict.fromkeys([*wanted, SOURCE], pl.String))
    frames: list[pl.DataFrame] = []
    left_out: list[str] = []
    torn = 0
    for file in each_of(source, JSON_LINES):
        if sum(frame.height for frame in frames) >= BATCH_ROWS:
            yield LabelRows(pl.concat(frames), len(frames), left_out, torn)
            frames, left_out, torn = [], [], 0
        try:
            if isinstance(file, MlopsError):
                raise file
            frame, lost = _json_lines(file, form, wanted) if _is_json(file) else (read_file(file, form, wanted), 0)
        except MlopsError as error:
            left_out.append(error.problem)
            continue
        except OSError as error:
            left_out.append(f"a file of {source} cannot be read: {error}")
            continue
        frames.append(frame.select([*wanted, SOURCE]))
        torn += lost
    yield LabelRows(pl.concat([empty, *frames]), len(frames), left_out, torn)


def _is_json(file: RawFile) -> bool:
    return file.path.suffix.lower() in JSON_LINES


def _json_lines(file: RawFile, form: FileFormat, wanted: Collection[str]) -> tuple[pl.DataFrame, int]:
    """The rows of a file of JSON objects, and how many of its lines are none."""
    lines = [line for line in file.path.read_bytes().splitlines() if line.strip()]
    read = [_object(line) for line in lines]
    names = list(dict.fromkeys(name for row in read if row for name in row))
    refuse_predictions(file, pl.LazyFrame(schema=dict.fromkeys(names, pl.Null)), names)
    added = {name: value for name, value in file.partition.items() if name not in names}
    require_columns(file, wanted, [*names, *added] if any(read) else [*wanted])
    missing = {"", *form.missing}
    columns = {
        name: [None if row is None else _text(row.get(name, added.get(name)), missing) for row in read]
        for name in wanted
    }
    is_row = pl.Series([row is not None for row in read], dtype=pl.Boolean)
    frame = numbered(pl.DataFrame(columns, schema=dict.fromkeys(wanted, pl.String)), file, 0).filter(is_row)
    return frame, len(read) - frame.height


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(value: Any, missing: Collection[str]) -> str | None:
    """A value as a file of separated values has it; `None` for no value."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return None if value is None or text in missing else text
