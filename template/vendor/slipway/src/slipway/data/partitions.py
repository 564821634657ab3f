"""Rows in parts, of which a process holds one at a time: read as text, held against the contract, and sorted by key.

What comes of the parts depends on nothing but their rows, so that every engine makes the same bytes. Rows are sorted
in two steps: those of each stretch, then those of each range of keys, of which every sorted stretch has a slice.
"""

from __future__ import annotations

import shutil
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl

from slipway.base.errors import MlopsError
from slipway.base.files import replacing
from slipway.base.numbers import significant
from slipway.contract.files import SOURCE, read_texts, unused_columns
from slipway.contract.frames import ROW, Repeated, Violation, parse, repeated
from slipway.contract.stretches import FileStretch
from slipway.settings.params import FileFormat
from slipway.team import CONTRACT

#: Rows that a process holds at a time, of a table of fewer than 134 million.
PART = 1 << 18
#: Parts of a table, at most: each range of keys opens every part, which takes a millisecond whatever is in it.
PARTS = 512
#: Rows in a row group of a table. Without it, the bytes would depend on how many rows were written at a time.
GROUP = 1 << 17
#: Rows of a part that are read together: of most parts no more than a slice is needed at a time.
BATCH = 1 << 13
#: Of so many rows, the key of one is looked at to tell ranges of keys that are about as large as parts.
SAMPLED = 1 << 9
#: Of so many different values at a time it is told how many they are, or of more where parts are larger.
DISTINCT = 1 << 21


def height(rows: int) -> int:
    """Rows of a part of a table of so many: `PART`, until that would be too many parts."""
    return max(PART, 1 << (-(-rows // PARTS) - 1).bit_length())


@contextmanager
def workplace(root: Path) -> Iterator[Path]:
    """A folder for parts within a checkout, which all workers see; what a killed process has left there is removed."""
    place = root / ".mlops" / "parts"
    shutil.rmtree(place, ignore_errors=True)
    # A name of its own: a worker may still write the parts of those who were there before.
    folder = place / uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_table(frame: pl.DataFrame | pl.LazyFrame, path: Path) -> None:
    """Write all or nothing: a killed process leaves the earlier file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        frame.lazy().sink_parquet(draft, compression="zstd", row_group_size=GROUP)


def _put(frame: pl.DataFrame, part: Path, *, is_packed: bool = False) -> None:
    if not part.parent.is_dir():
        raise MlopsError(f"{part.parent} is not there", "let the checkout lie in a folder that all nodes share")
    with replacing(part, f".{uuid4().hex}") as draft:  # whoever else may be at the same part
        frame.write_ipc(draft, compression="zstd" if is_packed else "uncompressed", record_batch_size=BATCH)


@dataclass(frozen=True)
class StretchReader:
    """Writes the rows of a stretch of a raw file as text; returns their number, and the columns that nobody knows."""

    folder: Path
    form: FileFormat

    def __call__(self, stretch: FileStretch) -> tuple[int, set[str]]:
        """Read a stretch."""
        place, file, start, length = stretch
        rows = 0
        for frame in read_texts(file, PART, self.form, start, length):
            _put(frame, self.folder / f"{place:06}-{start + rows:012}.arrow", is_packed=True)
            rows += frame.height
        return rows, set() if start else unused_columns(file, self.form)


class Checked(NamedTuple):
    """A stretch held against the contract: broken rules, the newest time, and where each range of keys ends in it."""

    violations: list[Violation]
    newest: datetime | None
    part: Path
    ends: list[int]


@dataclass(frozen=True)
class StretchChecker:
    """Gives the rows of a stretch their types, and writes them sorted by key. `bounds` are keys that begin a range."""

    folder: Path
    form: FileFormat
    bounds: list[tuple[Any, ...]]

    def __call__(self, stretch: FileStretch) -> Checked:
        """Check a stretch of a table of text."""
        raw = pl.scan_parquet(stretch.file.path).slice(stretch.start, stretch.length).collect()
        frame, violations = parse(raw, CONTRACT.fields + CONTRACT.outcome_fields, self.form)
        part = self.folder / f"{stretch.start:012}.arrow"
        if violations:
            return Checked(violations, None, part, [])
        frame = frame.with_row_index(ROW, offset=stretch.start).sort(CONTRACT.key)
        _put(frame, part)
        return Checked([], newest(frame), part, _ends(frame.select(CONTRACT.key), self.bounds))


def newest(frame: pl.DataFrame) -> datetime | None:
    """The latest time in the contract's column of it, if there is one."""
    found = None if CONTRACT.time is None else frame[CONTRACT.time].dt.replace_time_zone(None).max()
    return found if isinstance(found, datetime) else None


def bounds(table: Path, rows: int, form: FileFormat) -> list[tuple[Any, ...]]:
    """Keys that cut the rows of a table of text into ranges of about as many rows as a part has."""
    starts = range(0, rows, height(rows))
    if len(starts) == 1:
        return []
    fields = tuple(field for field in CONTRACT.fields + CONTRACT.outcome_fields if field.name in CONTRACT.key)
    scanned, keys = pl.scan_parquet(table).select(SOURCE, *CONTRACT.key), list[tuple[Any, ...]]()
    for start in starts:  # as plain values: a text of a frame keeps all others of its column
        looked_at = scanned.slice(start, starts.step).collect().gather_every(SAMPLED)
        keys += parse(looked_at, fields, form)[0].select(CONTRACT.key).iter_rows()
    keys.sort(key=_order)
    return [keys[place * len(keys) // len(starts)] for place in range(1, len(starts))]


def _order(key: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    """What sorts keys as polars does: what is missing comes first."""
    return tuple((value is not None, value) for value in key)


def _ends(keys: pl.DataFrame, bounds: list[tuple[Any, ...]]) -> list[int]:
    """How many rows of sorted keys come before each bound, and how many there are."""
    rows = range(keys.height)
    return [*(bisect_left(rows, _order(one), key=lambda row: _order(keys.row(row))) for one in bounds), keys.height]


class KeyRange(NamedTuple):
    """All rows of a range of keys: a slice of each sorted stretch."""

    place: int
    slices: list[tuple[Path, int, int]]

    def __str__(self) -> str:
        return f"the rows of range {self.place + 1:,} of the keys"


def ranges(checked: list[Checked]) -> Iterator[KeyRange]:
    """The ranges of keys, in their order."""
    for place in range(len(checked[0].ends)):
        cuts = [(one.part, ([0, *one.ends])[place], one.ends[place]) for one in checked]
        yield KeyRange(place, [(part, start, end - start) for part, start, end in cuts if end > start])


class Facts(NamedTuple):
    """What is known of a column in a part; `total` is the sum of its numbers."""

    missing: int
    known: int
    distinct: int
    least: Any
    most: Any
    total: float


class Sorted(NamedTuple):
    """A range of keys: where its rows are in their order, which of them are told twice, and facts of each column."""

    part: Path
    repeated: Repeated
    facts: dict[str, Facts]


@dataclass(frozen=True)
class RangeSorter:
    """Writes the rows of a range of keys in their order."""

    folder: Path

    def __call__(self, keys: KeyRange) -> Sorted:
        """Sort a range."""
        frame = pl.concat(pl.scan_ipc(part).slice(start, rows).collect() for part, start, rows in keys.slices)
        found = repeated(frame.sort(ROW), CONTRACT)
        frame = frame.sort(CONTRACT.key).drop(ROW)
        part = self.folder / f"range-{keys.place:06}.arrow"
        _put(frame, part)
        return Sorted(part, found, {name: _facts(frame[name]) for name in frame.columns if name != SOURCE})


def _facts(column: pl.Series) -> Facts:
    is_number, is_time = column.dtype.is_numeric(), column.dtype.is_temporal()
    ends = (column.min(), column.max()) if is_number or is_time else (None, None)
    total = float(column.sum()) if is_number else 0.0
    return Facts(column.null_count(), column.count(), column.n_unique(), *ends, total)


def profile(parts: list[dict[str, Facts]], table: pl.LazyFrame) -> dict[str, object]:
    """Simple facts about each column of a table, kept in Git so that a change of the data shows in review."""
    told: dict[str, object] = {}
    for name, dtype in table.drop(SOURCE).collect_schema().items():
        found = [part[name] for part in parts]
        known, missing = (sum(one.known for one in found), sum(one.missing for one in found))
        facts: dict[str, object] = {"missing": missing, "distinct": _distinct(table, name, found)}
        least = min((one.least for one in found if one.least is not None), default=None)
        most = max((one.most for one in found if one.most is not None), default=None)
        if dtype.is_numeric():
            mean = {"mean": significant(fsum(one.total for one in found) / known, 6)} if known else {}
            facts |= {"min": least, **mean, "max": most}
        elif dtype.is_temporal():
            facts |= {"min": str(least), "max": str(most)}
        told |= {"rows": known + missing, name: facts}
    return told


def _distinct(table: pl.LazyFrame, name: str, found: list[Facts]) -> int:
    """How many different values a column has; what is missing is one of them."""
    if len(found) == 1:
        return found[0].distinct
    at_a_time = DISTINCT * height(sum(one.known + one.missing for one in found)) // PART
    passes, values = -(-sum(one.distinct for one in found) // at_a_time), table.select(name)
    some = (values.filter(pl.col(name).hash() % passes == place) for place in range(passes))
    return sum(int(part.unique().select(pl.len()).collect(engine="streaming").item()) for part in some)
