"""Small objects of a log joined into large ones, so that a day of many machines is read with few requests.

A joined object names those whose lines it holds, and each of its rows says which it is from. It is written in one step
before these are deleted, and who reads takes the lines of each object once, from wherever they come first. So a kill
at any moment loses and doubles nothing: the next join deletes what is left over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import polars as pl

from slipway.base.buckets import Bucket, StoredObject
from slipway.log import parquet
from slipway.log.store import ENDING

_JOINED = "joined."
#: From so many rows on an object takes no more: a reader holds all of them in memory.
ENOUGH_ROWS = 100_000

#: Lists what there is of a day.
Look = Callable[[], list[StoredObject]]


def is_joined(name: str) -> bool:
    """Whether an object holds the lines of others."""
    return name.rpartition("/")[2].startswith(_JOINED)


def join(bucket: Bucket, look: Look) -> int:
    """Join the objects of a day that is over; returns how many were deleted.

    Raises `MlopsError` where the bucket is away, or lets nobody delete; what was there is there then.
    """
    deleted, read = _settle(bucket, look(), {}), dict[str, str]()
    apart = [one for one in look() if not is_joined(one.name)]
    if len(apart) < 2:
        return deleted
    for frames in _groups(_read(bucket, apart, read)):
        if len(frames) < 2:
            continue
        names = [*frames]
        name = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
        content = parquet.packed(pl.concat(frames.values(), how="diagonal"), names)
        bucket.create(f"{names[0].rpartition('/')[0]}/{_JOINED}{name}{ENDING}", content)
    return deleted + _settle(bucket, look(), read)


def _read(bucket: Bucket, apart: list[StoredObject], read: dict[str, str]) -> Iterator[tuple[str, pl.DataFrame]]:
    for one in apart:
        if (content := bucket.held(one.name)) is not None:
            read[one.name] = one.tag
            yield one.name, parquet.frame_of(content, one.name)


class _Group:
    """Rows that go into one object, by the name of that they are in: each column has one type."""

    def __init__(self) -> None:
        self.frames: dict[str, pl.DataFrame] = {}
        self.rows = 0
        self._types: dict[str, pl.DataType] = {}

    def takes(self, frame: pl.DataFrame) -> bool:
        return all(self._types.get(column, dtype) == dtype for column, dtype in frame.schema.items())

    def add(self, name: str, frame: pl.DataFrame) -> None:
        self.frames[name] = frame
        self.rows += frame.height
        self._types |= frame.schema


def _groups(found: Iterator[tuple[str, pl.DataFrame]]) -> Iterator[dict[str, pl.DataFrame]]:
    groups: list[_Group] = []
    for name, frame in found:
        group = next((one for one in groups if one.takes(frame)), None)
        if group is None:
            groups.append(group := _Group())
        group.add(name, frame)
        if sum(one.rows for one in groups) >= ENOUGH_ROWS:
            largest = max(groups, key=lambda one: one.rows)
            groups.remove(largest)
            yield largest.frames
    yield from (one.frames for one in groups)


def _settle(bucket: Bucket, stored: list[StoredObject], read: dict[str, str]) -> int:
    """Delete the objects whose lines are in joined ones; returns how many.

    Lines are only ever erased, so where an object has fewer by now than the joined one holds of it, it is right, and
    they go from the joined one. `read` has the tags of those that were joined just now.
    """
    apart, over = {one.name: one for one in stored if not is_joined(one.name)}, dict[str, None]()
    for joined in (one for one in stored if apart and is_joined(one.name)):
        content = bucket.held(joined.name)
        if content is None:
            continue
        frame, names = parquet.frame_of(content, joined.name), parquet.names_in(content, joined.name)
        changed = [
            name for name in names
            if name in apart and read.get(name) != apart[name].tag and _is_shorter(bucket, name, frame)
        ]  # fmt: skip
        if changed:
            kept = parquet.without(frame, changed)
            bucket.replace(joined, parquet.packed(kept, [name for name in names if name not in changed]))
        over |= dict.fromkeys(name for name in names if name in apart and name not in changed)
    bucket.delete([*over])
    return len(over)


def _is_shorter(bucket: Bucket, name: str, joined: pl.DataFrame) -> bool:
    content = bucket.held(name)
    return (
        content is not None
        and parquet.frame_of(content, name).height < joined.filter(pl.col(parquet.OBJECT) == name).height
    )
