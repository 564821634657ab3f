"""Labels in parts by the hash of their key, so that memory need not hold all of them at once.

A few are one frame. More than a part go to files of this run, in the project's folder for local state: sorted runs as
they come, then parts without what was told again or overruled. The files go with the object that holds them; what a
killed run has left goes a day later.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from slipway.contract.files import SOURCE
from slipway.data.label_typing import SHOWN, WRITTEN

#: So many rows at once are in memory.
PART_ROWS = 500_000
#: Beside columns of any name: the hash of the key, the number of the label, and a hash of what it tells.
HASH, PLACE, _TOLD = "(hash)", "(place)", "(told)"
#: How many labels are of a key, and whether they say the same.
_TIMES, _DIFFER = "(times)", "(differ)"

_PREFIX, _LEFT_S = "labels-of-a-run-", 86_400
_GROUP_ROWS = 16_384
_HASHES = 2**64


class LabelParts:
    """Takes labels in the order in which they are read; `settle` makes parts of them, in which each key is once.

    Then `rows` are left; `again` only repeated another, and `correcting` overrule others.
    """

    def __init__(self, key: Sequence[str], state: Path) -> None:
        """`state` is the folder for local state."""
        self.rows, self.again = 0, 0
        self.correcting = First()
        self._key, self._state = [*key], state
        self._folder: Path | None = None
        self._waiting: list[pl.DataFrame] = []
        self._runs: list[Path] = []
        self._parts: list[pl.LazyFrame] = []

    def add(self, labels: pl.DataFrame, outcome: Sequence[str]) -> None:
        """Take some labels, each with the time at which it was written; also none, which says what columns there are.

        Of labels with the same key the last by that time counts, and of those without one or of the same the last that
        was taken.
        """
        made = labels.with_columns(
            labels.select(self._key).hash_rows().alias(HASH),
            labels.select(outcome).hash_rows().alias(_TOLD),
            pl.int_range(self.rows, self.rows + pl.len()).alias(PLACE),
        ).drop(outcome)
        self.rows += labels.height
        self._waiting.append(made.select(sorted(made.columns)))
        if sum(part.height for part in self._waiting) >= PART_ROWS:
            path = self._file(f"run-{len(self._runs)}")
            pl.concat(self._waiting).sort(HASH).write_parquet(path, compression="lz4", row_group_size=_GROUP_ROWS)
            self._runs.append(path)
            self._waiting = [self._waiting[-1].clear()]

    def settle(self) -> None:
        """Keep the last label of each key, and count the others."""
        waiting, number, kept = pl.concat(self._waiting), -(-self.rows // PART_ROWS), 0
        if not self._runs:
            only = self._latest(waiting)
            self.rows, self._parts = only.height, [only.lazy()]
            return
        told = pl.concat([*map(pl.scan_parquet, self._runs), waiting.lazy()])
        for part in range(number):
            first, last = part * _HASHES // number, (part + 1) * _HASHES // number - 1
            is_of_it = pl.col(HASH).is_between(pl.lit(first, pl.UInt64), pl.lit(last, pl.UInt64))
            latest = self._latest(told.filter(is_of_it).collect())
            path = self._file(f"part-{part}")
            latest.write_parquet(path, compression="lz4")
            self._parts.append(pl.scan_parquet(path))
            kept += latest.height
        self.rows, self._waiting = kept, []
        for path in self._runs:
            path.unlink()

    def parts(self, *names: str) -> Iterator[pl.DataFrame]:
        """These columns of the labels, sorted by their hashes, which are greater from part to part."""
        yield from (part.select(names).collect() for part in self._parts)

    def of(self, log: pl.DataFrame, *names: str) -> pl.DataFrame:
        """These columns of the labels of a log's predictions."""
        keys = self._keys(log).unique().lazy()
        return pl.concat([part.join(keys, on=self._key, how="semi").select(names).collect() for part in self._parts])

    def others(self, log: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The labels of none of a log's predictions: hash, number, and where from."""
        keys = self._keys(log).unique().lazy()
        for part in self._parts:
            yield part.join(keys, on=self._key, how="anti", maintain_order="left").select(HASH, PLACE, SOURCE).collect()

    def hashes(self, log: pl.DataFrame) -> pl.Series:
        """The hash of the key of each prediction, which is the same in every process."""
        return self._keys(log).hash_rows()

    def _keys(self, log: pl.DataFrame) -> pl.DataFrame:
        types = self._parts[0].collect_schema()
        return log.select(pl.col(name).cast(types[name]) for name in self._key)

    def _latest(self, told: pl.DataFrame) -> pl.DataFrame:
        if told[HASH].n_unique() < told.height:
            grouped = told.sort(WRITTEN, PLACE).with_columns(
                pl.col(_TOLD).n_unique().over(self._key).alias(_DIFFER), pl.len().over(self._key).alias(_TIMES)
            )
            told = grouped.unique(self._key, keep="last", maintain_order=True)
            self.again += int((told.filter(pl.col(_DIFFER) == 1)[_TIMES] - 1).sum())
            self.correcting.add(told.filter(pl.col(_DIFFER) > 1))
            told = told.drop(_DIFFER, _TIMES)
        return told.drop(WRITTEN, _TOLD).sort(HASH)

    def _file(self, name: str) -> Path:
        if self._folder is None:
            self._state.mkdir(parents=True, exist_ok=True)
            for left in self._state.glob(f"{_PREFIX}*"):
                if left.stat().st_mtime < time.time() - _LEFT_S:
                    shutil.rmtree(left, ignore_errors=True)
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._state))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / f"{name}.parquet"


class First:
    """Where the first labels of many are from, by their numbers, and how many these are in all."""

    def __init__(self) -> None:
        """There are none yet."""
        self.rows = 0
        self._found: list[tuple[int, str]] = []

    def add(self, labels: pl.DataFrame) -> None:
        """Count some more."""
        self.rows += labels.height
        found = labels.select(PLACE, SOURCE).bottom_k(SHOWN, by=PLACE).rows()
        self._found = sorted([*self._found, *found])[:SHOWN]

    @property
    def shown(self) -> str:
        """The first of them, in words."""
        return ", ".join(source for _, source in self._found)
