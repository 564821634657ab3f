"""Text files of separated values: what is packed or in another encoding is opened, and every row is seen to be whole.

A reader of such files is quick and forgiving: a row that ends early is filled up, a column that comes twice gets
another name. What it would forgive is refused here, with the line.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.found import RawFile
from slipway.settings.params import FileFormat

#: Where to name how files are written.
NAMED = "under data.format in params.yaml, or labels.format in policy.yaml"

#: What a packed file begins with. Those without a function are opened by polars alone.
_OPENERS: dict[bytes, Callable[[Path], Any] | None] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"\x28\xb5\x2f\xfd": None,
}  # fmt: skip
_BY_POLARS = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_UTF8, _UTF16 = codecs.lookup("utf-8"), (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHERS = ";\t|,"


@contextmanager
def opened(file: RawFile, form: FileFormat, wanted: Collection[str]) -> Iterator[pl.LazyFrame]:
    """Scan a file as text; `wanted` are the columns that count.

    Raises `MlopsError` where rows or wanted columns cannot be told with certainty.
    """
    separator = form.separator or ("\t" if file.ending == ".tsv" else ",")
    with _as_utf8(file.path, form) as path:
        header = _header(file, path, separator, wanted)
        _require_whole_rows(file, path, separator, len(header))
        yield pl.scan_csv(
            path, separator=separator, infer_schema=False, null_values=["", *form.missing], glob=False
        )  # fmt: skip


@contextmanager
def _as_utf8(path: Path, form: FileFormat) -> Iterator[Path]:
    """The path of the same file, or of one that polars can read."""
    with path.open("rb") as stream:
        start = stream.read(8)
    magic = next((magic for magic in _OPENERS if start.startswith(magic)), b"")
    opener = _OPENERS[magic] if magic else Path.open
    with _binary(path, opener) as stream:
        encoding = "utf-16" if stream is not None and stream.read(2) in _UTF16 else form.encoding
    if codecs.lookup(encoding) == _UTF8 and (not magic or magic in _BY_POLARS):
        yield path
        return
    if opener is None:
        raise MlopsError(f"{path} is packed by zstd and not in UTF-8", "unpack it, or write it in UTF-8")
    with tempfile.TemporaryDirectory() as folder, _binary(path, opener) as stream:
        plain = Path(folder) / "plain.csv"
        with plain.open("wb") as target:
            shutil.copyfileobj(codecs.EncodedFile(stream, "utf-8", encoding), target)  # type: ignore[arg-type]
        yield plain


@contextmanager
def _binary(path: Path, opener: Callable[..., Any] | None) -> Iterator[BinaryIO | None]:
    if opener is None:
        yield None
    else:
        with opener(path, "rb") as stream:
            yield stream


def _header(file: RawFile, path: Path, separator: str, wanted: Collection[str]) -> list[str]:
    _, header = next(_records(file, path, separator), (0, []))
    if not header:
        raise MlopsError(f"{file.path} has no header in its first line", "write the names of its columns there")
    header[0] = header[0].removeprefix("\ufeff")
    shown = separator.join(header)
    if "\0" in shown:
        raise MlopsError(f"{file.path} is not in UTF-8", f"is it UTF-16? write `encoding: utf-16-le` {NAMED}")
    others = [other for other in _OTHERS if other in header[0]]
    if len(header) == 1 and others and header[0] not in wanted:
        raise MlopsError(
            f"the header of {file.path} is one column, {shown!r}", f'write `separator: "{_shown(others[0])}"` {NAMED}'
        )
    if again := [name for name in wanted if header.count(name) > 1]:
        raise MlopsError(
            f"the header of {file.path} names {', '.join(again)} more than once",
            "which one is meant? rename the others",
        )
    return header


def _require_whole_rows(file: RawFile, path: Path, separator: str, width: int) -> None:
    """Refuse a row of more or fewer values than the header has names, with its line."""
    if width == 1:
        return
    lines = pl.scan_lines(path, glob=False)
    unquoted = pl.col("line").str.replace_all('"[^"]*"', "")
    is_odd = unquoted.str.count_matches(separator, literal=True) != width - 1
    is_odd |= unquoted.str.contains('"', literal=True)
    with _told_of_encoding(file, path):
        if lines.filter(is_odd).head(1).collect().is_empty():
            return
    for number, record in _records(file, path, separator):
        if len(record) != width:
            told = "is empty" if not record else f"has {len(record):,} of the {width:,} values that its header names"
            raise MlopsError(f"line {number:,} of {file.path} {told}", "mend it, or remove it")


def _records(file: RawFile, path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its last line; slower, and stricter, than polars."""
    batches = pl.scan_lines(path, glob=False).collect_batches(maintain_order=True)
    reader = csv.reader((f"{line}\n" for part in batches for line in part["line"]), delimiter=separator, strict=True)
    try:
        with _told_of_encoding(file, path):
            for record in reader:
                yield reader.line_num, record
    except csv.Error as error:
        old = "new-line" in str(error)
        problem = "has a carriage return that ends no line" if old else f"is not understood: {error}"
        raise MlopsError(
            f"line {reader.line_num:,} of {file.path} {problem}", "mend it; is a quote not closed, or not doubled?"
        ) from None


@contextmanager
def _told_of_encoding(file: RawFile, path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.ComputeError as error:
        if "utf8" not in str(error):
            raise
        raise MlopsError(
            f"line {_undecoded(path):,} of {file.path} is not in UTF-8",
            f"write its encoding {NAMED}, such as `encoding: windows-1252`",
        ) from None


def _undecoded(path: Path) -> int:
    """The first line that is not UTF-8."""
    with path.open("rb") as plain:
        opener = gzip.open if plain.read(2) == b"\x1f\x8b" else open
    with opener(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _shown(separator: str) -> str:
    return "\\t" if separator == "\t" else separator
