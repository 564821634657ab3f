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
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.found import RawFile
from slipway.settings.params import FileFormat

#: Where to name how files are written.
NAMED = "under data.format in params.yaml, or labels.format in policy.yaml"

#: What a packed file begins with. Those without a function are opened by polars alone.
_OPENERS: dict[bytes, Callable[..., Any] | None] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"\x28\xb5\x2f\xfd": None,
}  # fmt: skip
_UTF8, _UTF16 = codecs.lookup("utf-8"), (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHERS = ";\t|,"


@contextmanager
def opened(file: RawFile, form: FileFormat, wanted: Collection[str]) -> Iterator[pl.LazyFrame]:
    """Scan a file as text; `wanted` are the columns that count.

    Raises `MlopsError` where rows or wanted columns cannot be told with certainty.
    """
    separator = form.separator or ("\t" if file.ending == ".tsv" else ",")
    with tempfile.TemporaryDirectory() as folder:
        path = _in_utf8(file.path, form, Path(folder))
        width = len(_header(file, path, separator, wanted))
        path = _whole(file, path, separator, width, Path(folder))
        yield pl.scan_csv(
            path, separator=separator, infer_schema=False, null_values=["", *form.missing], glob=False
        )  # fmt: skip


def _in_utf8(path: Path, form: FileFormat, folder: Path) -> Path:
    """The path of the same file, or of one in `folder` that polars can read."""
    opener = _opener(path)
    encoding = form.encoding
    if opener is not None:
        with opener(path, "rb") as stream:
            encoding = "utf-16" if stream.read(2) in _UTF16 else encoding
    if codecs.lookup(encoding) == _UTF8 and opener in (open, gzip.open, None):
        return path
    if opener is None:
        raise MlopsError(f"{path} is packed by zstd and not in UTF-8", "unpack it, or write it in UTF-8")
    plain = folder / "plain.csv"
    try:
        with (
            opener(path, "rt", encoding=encoding, newline="") as text,
            plain.open("w", encoding="utf-8", newline="") as target,
        ):
            shutil.copyfileobj(text, target)
    except UnicodeError as error:
        raise MlopsError(f"{path} is not in {encoding}: {error}", f"write its encoding {NAMED}") from None
    return plain


def _header(file: RawFile, path: Path, separator: str, wanted: Collection[str]) -> list[str]:
    with closing(_records(file, path, separator)) as records:
        _, header = next(records, (0, []))
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


def _whole(file: RawFile, path: Path, separator: str, width: int, folder: Path) -> Path:
    """The path of the same file, or of one in `folder` with the same rows, where quotes need a closer look.

    Raises `MlopsError` for a row of more or fewer values than the header has names, with its line.
    """
    line, sign = pl.col("line"), re.escape(separator)
    is_quoted = line.str.contains('"', literal=True) | line.str.contains("\r", literal=True)
    unquoted = line.str.replace_all(f'(^|{sign})"(?:[^"]|"")*"', "${1}\0")
    is_open = unquoted.str.contains(f'["\\r]|\\x00[^{sign}]')
    of_other_width = [text.str.count_matches(separator, literal=True) != width - 1 for text in (line, unquoted)]
    with _told_of_encoding(file, path):
        # Mostly there are no quotes, and looking through them is dear.
        for is_odd in (is_quoted | of_other_width[0], is_open | of_other_width[1]):
            if pl.scan_lines(path, glob=False).filter(is_odd).head(1).collect().is_empty():
                return path
    clean = folder / "clean.csv"
    with clean.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for number, record in _records(file, path, separator):
            if len(record or [""]) != width:
                told = f"has {len(record):,} values, and its header {width:,} names" if record else "is empty"
                raise MlopsError(f"line {number:,} of {file.path} {told}", "mend it, or remove it")
            writer.writerow(record or [""])
    return clean


def _records(file: RawFile, path: Path, separator: str) -> Generator[tuple[int, list[str]]]:
    """Each row with the number of its last line; slower, and stricter, than polars."""
    reader = csv.reader(_lines(path), delimiter=separator, strict=True)
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


def _lines(path: Path) -> Iterator[str]:
    opener = _opener(path)
    if opener is None:
        for part in pl.scan_lines(path, glob=False).collect_batches(maintain_order=True):
            yield from (f"{line}\n" for line in part["line"])
    else:
        with opener(path, "rt", encoding="utf-8-sig", newline="\n") as stream:
            yield from stream


def _opener(path: Path) -> Callable[..., Any] | None:
    with path.open("rb") as stream:
        start = stream.read(8)
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)


@contextmanager
def _told_of_encoding(file: RawFile, path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.ComputeError, UnicodeDecodeError) as error:
        if "utf8" not in str(error) and not isinstance(error, UnicodeDecodeError):
            raise
        raise MlopsError(
            f"line {_undecoded(path):,} of {file.path} is not in UTF-8",
            f"write its encoding {NAMED}, such as `encoding: windows-1252`",
        ) from None


def _undecoded(path: Path) -> int:
    """The first line that is not UTF-8."""
    with (_opener(path) or open)(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _shown(separator: str) -> str:
    return "\\t" if separator == "\t" else separator
