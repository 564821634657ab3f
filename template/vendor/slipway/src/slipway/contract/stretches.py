"""Raw files cut into stretches, so that none of them is held as a whole, and several processes can read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from slipway.contract.files import known_rows
from slipway.contract.found import RawFile


class FileStretch(NamedTuple):
    """A file, the `place`th of its source, or some rows of a Parquet file; `length` is `None` for all of it."""

    place: int
    file: RawFile
    start: int
    length: int | None

    def __str__(self) -> str:
        rows = f", rows {self.start + 1:,} to {self.start + self.length:,}" if self.length else ""
        return f"{self.file.path}{rows}"


def stretches(files: Iterable[RawFile], rows: int) -> Iterator[FileStretch]:
    """Cut files into stretches of so many rows; text, and what has no rows, is one as it is."""
    for place, file in enumerate(files):
        length = known_rows(file)
        if not length:
            yield FileStretch(place, file, 0, None)
            continue
        for start in range(0, length, rows):
            yield FileStretch(place, file, start, min(rows, length - start))
