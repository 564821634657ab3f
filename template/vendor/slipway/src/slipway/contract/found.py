"""Finding raw files: each file of a source is read, known to be no data, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from slipway.base.errors import MlopsError

ENDINGS = ".csv, .tsv (also .gz, .bz2, .xz or .zst) or .parquet"

_TEXT, _PARQUET = {".csv", ".tsv"}, {".parquet", ".pq"}
_PACKED = {".gz", ".bz2", ".xz", ".zst"}

#: What lies beside data without being data: hidden files, notes, what Spark and Delta leave behind, and pictures, which
#: a table may name.
_BESIDE = re.compile(
    r"^(\..*|_SUCCESS|_(common_)?metadata|_(committed|started)_.*|README.*|LICENSE.*|.*\.md|.*\.(png|PNG|jpe?g|JPE?G))$"
)
#: How a part of a path names the value of a column for all rows below it, and how it names none.
_PARTITION, _NONE = re.compile(r"^([^=]+)=(.*)$"), "__HIVE_DEFAULT_PARTITION__"
_ADVICE = {
    ".xlsx": "save it as .csv", ".xls": "save it as .csv", ".ods": "save it as .csv", ".zip": "unpack it",
    ".dvc": "fetch what it points to: dvc pull",
}  # fmt: skip


@dataclass(frozen=True)
class RawFile:
    """A file with raw rows: its `name` within its source, and what its path says of all its rows (`year=2013/`)."""

    path: Path
    name: str
    partition: dict[str, str | None] = field(default_factory=dict)

    @property
    def ending(self) -> str:
        """The ending that says what the file is, without that of its packing."""
        first, last = ["", "", *self.path.suffixes][-2:]
        return (first if last.lower() in _PACKED else last).lower()

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet and not text."""
        return self.ending in _PARQUET


def files_of(source: Path) -> list[RawFile]:
    """The data files of a source: itself, or every file of a folder and those below it, in the order of their names.

    Raises `MlopsError` when there is none, and for a file that is not known to be data or something else.
    """
    found = all_of(source)
    if not found:
        raise MlopsError(
            f"there is no raw data in {source}",
            f"fetch it with `dvc pull`, or name your data in params.yaml, data.source ({ENDINGS})",
        )
    return found


def all_of(source: Path) -> list[RawFile]:
    """The same, and an empty list when there is none."""
    if source.is_dir():
        found = [_readable(_named(path, source)) for path in _below(source, frozenset())]
        return sorted(found, key=lambda file: file.path)
    return [_readable(RawFile(source, source.name))] if source.is_file() else []


def each_of(source: Path, also: Collection[str] = ()) -> Iterator[RawFile | MlopsError]:
    """Each file of a source in the order of their names, or why it cannot be read; those with `also` as ending can."""
    if not source.is_dir():
        yield from [_or_why(RawFile(source, source.name), also)] if source.is_file() else []
        return
    try:
        paths = sorted(_below(source, frozenset()))
    except MlopsError as error:
        yield error
        return
    yield from (_or_why(_named(path, source), also) for path in paths)


def _or_why(file: RawFile, also: Collection[str]) -> RawFile | MlopsError:
    try:
        return file if file.path.suffix.lower() in also and file.path.is_file() else _readable(file)
    except MlopsError as error:
        return error


def _below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    if (here := folder.resolve()) in above:
        raise MlopsError(f"{folder} is a link to a folder that holds it", "remove this link")
    for path in folder.iterdir():
        if _BESIDE.match(path.name) or (path.suffix == ".dvc" and path.with_suffix("").exists()):
            continue
        if path.is_dir():
            yield from _below(path, above | {here})
        else:
            yield path


def _named(path: Path, source: Path) -> RawFile:
    inside = path.relative_to(source)
    pairs = [match.groups() for part in inside.parts[:-1] if (match := _PARTITION.match(part))]
    partition = {unquote(name): None if value == _NONE else unquote(value) for name, value in pairs}
    return RawFile(path, inside.as_posix(), partition)


def _readable(file: RawFile) -> RawFile:
    is_packed = file.path.suffix.lower() in _PACKED
    if not file.path.is_file():
        raise MlopsError(f"{file.path} is no file that can be read", "remove this link, or mend it")
    if file.is_parquet and is_packed:
        raise MlopsError(f"{file.path} is Parquet packed once more", "unpack it: Parquet is packed within")
    if file.ending not in _TEXT | _PARQUET:
        advice = _ADVICE.get(file.path.suffix.lower(), "convert it to one of them")
        raise MlopsError(
            f"{file.path} is neither {ENDINGS}", f"{advice}, or move it out of the data if it holds none"
        )  # fmt: skip
    return file
