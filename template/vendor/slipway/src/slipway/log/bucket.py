"""A log in a bucket: what every server of an environment has uploaded, and what waits on this machine.

    <address>/<log>/<environment>/day=2013-07-01/<host>.<process>.<time>.<place>.parquet

An object is written once, by the server's machine, and never again but to erase rows; what is small and of a day that
is over may be joined (see `joining.py`). Its name tells the segment of the
spool (see `spool.py`) and the place in it, so an upload that was interrupted is done again without doubling a row, and
a reader on the same machine knows which rows of its spool are in the bucket already.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import filelock
import msgspec

from slipway.base.buckets import Bucket, StoredObject
from slipway.base.errors import MlopsError
from slipway.log import spool
from slipway.log.spool import Spool
from slipway.log.store import ENDING, LogFile, LogPlace, blank, days_of

_AHEAD = 8
#: Beyond so many days the whole log is listed, rather than each day of it.
_MOST_LISTED = 100


class _Waiting(NamedTuple):
    """A file of the spool as it was when somebody began to read."""

    path: Path
    size: int


class BucketSink:
    """Parquet in a bucket, a folder for each day (UTC), by way of a spool on this machine."""

    def __init__(self, place: LogPlace) -> None:
        self._address = f"{place.address.rstrip('/')}/{place.log}/{place.environment}"
        self._folder = place.folder
        self._spool = Spool(place.folder)

    @cached_property
    def _bucket(self) -> Bucket:
        """Who only writes to the spool needs nothing that could reach it."""
        return Bucket(self._address)

    def append(self, lines: bytes) -> None:
        """Write to the spool."""
        self._spool.append(lines)

    def close(self) -> None:
        """Let go of the spool, which the uploader empties."""
        self._spool.close()

    def waiting_s(self) -> float:
        """For how long the oldest segment has waited here, of any server of this machine."""
        return spool.waiting_s(self._folder)

    def scan(self, since: datetime | None, until: datetime | None) -> Iterator[bytes]:
        """The lines of these days, of every server; of this one also those that are not uploaded yet."""
        first, last = days_of(since, until)
        # In this order: what is uploaded meanwhile is then in what is listed.
        waiting = [one for one in self._waiting() if first <= _day(one.path.name) <= last]
        stored = self._stored(first, last)
        by_day: dict[date, list[StoredObject]] = defaultdict(list)
        for one in stored:
            by_day[_day(one.name)].append(one)
        for day in sorted({*by_day, *(_day(one.path.name) for one in waiting)}):
            seen: set[str] = set()
            yield from self._read(day, by_day[day], seen)
            for left in waiting:
                if _day(left.path.name) == day:
                    yield from self._left(left, seen)

    def files(self) -> list[LogFile]:
        """A file for each day, which changes with any of its objects."""
        days: dict[date, list[tuple[str, int, str]]] = defaultdict(list)
        for path, size in self._waiting():
            days[_day(path.name)].append((path.stem, size, ""))
        for one in self._stored(date.min, date.max):
            days[_day(one.name)].append(one)
        return [
            LogFile(
                f"day={day}", day, (len(held), int(hashlib.sha256(repr(sorted(held)).encode()).hexdigest()[:15], 16))
            )
            for day, held in sorted(days.items())
        ]

    def find(self, id_: str) -> Iterator[bytes]:
        """The lines with this id, of the newest objects first."""
        from slipway.log import parquet

        needle = msgspec.json.encode({"id": id_})[:-1]
        for left in reversed(self._waiting()):
            yield from (line for line in self._left(left, set()) if line.startswith(needle))
        for _, content in self._each(date.min, date.max, self._stored(date.min, date.max)[::-1]):
            yield from (line for line in parquet.with_id(content, id_) if line.startswith(needle))

    def forget(self, day: date) -> int:
        """Delete objects, look whether they are gone, and delete what this machine has of those days."""
        old = [one.name for one in self._stored(date.min, day)]
        self._bucket.delete(old)
        if left := self._stored(date.min, day) if old else []:
            raise MlopsError(
                f"{len(left)} objects of {self._bucket.address} are too old to be kept, and still there after deletion",
                "ask who keeps the bucket: it may be locked, or the credentials may not delete",
            )
        here = [path for path in spool.spooled(self._folder) if _day(path.name) <= day]
        for path in here:
            path.unlink(missing_ok=True)
        return len(old) + len(here)

    def erase(self, is_meant: Callable[[bytes], bool]) -> int:
        """Upload what waits here, then write each object anew that holds such a line, without it.

        What came in meanwhile is blanked. An object that loses all of its lines stays, empty: its machine may not know
        yet that it was uploaded.
        """
        erased = 0
        with self._only_one():
            self._upload()
            done: set[StoredObject] = set()
            # What is joined meanwhile is there before what it is made of goes: it is found in the end.
            while new := [one for one in self._stored(date.min, date.max) if one not in done]:
                done.update(new)
                erased += sum(self._erase(one, is_meant) for one in new)
            return erased + sum(blank(path, is_meant) for path in spool.spooled(self._folder))

    def _erase(self, one: StoredObject, is_meant: Callable[[bytes], bool]) -> int:
        from slipway.log import joining, parquet

        if (content := self._bucket.held(one.name)) is None:
            return 0
        rows = parquet.stored_rows(content)
        is_kept = [not is_meant(line) for line in parquet.lines_of(rows)]
        if not all(is_kept):
            names = parquet.names_in(content, one.name) if joining.is_joined(one.name) else []
            self._bucket.replace(one, parquet.packed(rows.filter(is_kept), names))
        return is_kept.count(False)

    def join(self, before: date) -> int:
        """Join the objects of each day before that one into few; return how many were deleted, once they were there.

        Raises `MlopsError` where the bucket is away, or lets nobody delete. Then and after a kill nothing is lost or
        doubled, and the next time goes on.
        """
        from slipway.log import joining

        with self._only_one():
            days = {_day(one.name) for one in self._stored(date.min, before - timedelta(days=1))}
            return sum(joining.join(self._bucket, partial(self._stored, day, day)) for day in sorted(days))

    def upload(self) -> int:
        """Upload what waits on this machine, and delete it here once it is there; return how many objects these were.

        Raises `MlopsError` where the bucket is away; what waits then still waits.
        """
        with self._only_one():
            return self._upload()

    def _upload(self) -> int:
        from slipway.log import parquet

        made = 0
        for path in spool.take(self._folder, datetime.now(UTC).date()):
            with path.open("rb") as file:
                for name, lines in spool.parts(file, path.stem, path.stat().st_size):
                    self._bucket.create(_object_name(name), parquet.encode(lines))
                    made += 1
            path.unlink(missing_ok=True)
        return made

    def _only_one(self) -> filelock.BaseFileLock:
        """Held by who uploads or erases here: what is erased must not come back by an upload that was under way."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._folder / "upload.lock")

    def _waiting(self) -> list[_Waiting]:
        found = []
        for path in spool.spooled(self._folder):
            try:
                found.append(_Waiting(path, path.stat().st_size))
            except FileNotFoundError:  # it was closed or uploaded just now
                closed = path.with_suffix(spool.CLOSED)
                found += [_Waiting(closed, closed.stat().st_size)] if closed.exists() else []
        return found

    def _left(self, left: _Waiting, seen: set[str]) -> Iterator[bytes]:
        """The lines of a file of the spool that are in none of the objects which were read."""
        from slipway.log import joining

        for path in (left.path, left.path.with_suffix(spool.CLOSED)):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                for name, lines in spool.parts(file, path.stem, left.size):
                    if _object_name(name) not in seen:
                        yield from lines.splitlines(keepends=True)
            return
        day = _day(left.path.name)
        begin = f"day={day}/{left.path.stem[11:]}."
        since = [one for one in self._stored(day, day) if one.name.startswith(begin) or joining.is_joined(one.name)]
        yield from self._read(day, since, seen)

    def _stored(self, first: date, last: date) -> list[StoredObject]:
        """The objects of these days, older days first."""
        last = min(last, datetime.now(UTC).date() + timedelta(days=2))
        number = (last - first).days + 1
        if number > _MOST_LISTED:
            found = self._bucket.list()
        else:
            listed = (self._bucket.list(f"day={first + timedelta(days=past)}") for past in range(number))
            found = [*chain.from_iterable(listed)]
        # What somebody else has put there is nobody's log, to be neither read nor deleted.
        ours = [one for one in found if one.name.endswith(ENDING) and _day(one.name) > date.min]
        return [one for one in ours if first <= _day(one.name) <= last]

    def _read(self, day: date, stored: list[StoredObject], seen: set[str]) -> Iterator[bytes]:
        """The lines of objects of a day, but of those that were `seen`; those that are read are added to these."""
        from slipway.log import joining, parquet

        joined_first = sorted(stored, key=lambda one: not joining.is_joined(one.name))
        for one, content in self._each(day, day, joined_first, seen):
            if joining.is_joined(one.name):
                names = parquet.names_in(content, one.name)
                yield from parquet.lines_of(
                    parquet.without(parquet.frame_of(content, one.name), seen.intersection(names))
                )
                seen.update(names)
            elif one.name not in seen:
                yield from parquet.decode(content)
                seen.add(one.name)

    def _each(
        self, first: date, last: date, stored: list[StoredObject], seen: Collection[str] = ()
    ) -> Iterator[tuple[StoredObject, bytes]]:
        """The objects of these days with their contents, but of those that are `seen` by the time they are asked for.

        What is gone since it was listed was joined with others, or deleted: what was made of it comes in the end.
        """
        asked: set[str] = set()
        while stored:
            asked.update(one.name for one in stored)
            is_gone = False
            for one, content in self._contents(one for one in stored if one.name not in seen):
                is_gone = is_gone or content is None
                if content is not None:
                    yield one, content
            stored = [one for one in self._stored(first, last) if one.name not in asked] if is_gone else []

    def _contents(self, stored: Iterable[StoredObject]) -> Iterator[tuple[StoredObject, bytes | None]]:
        """The objects one after the other, of which some are fetched ahead: memory holds no more than these."""
        coming: deque[tuple[StoredObject, Future[bytes | None]]] = deque()
        with ThreadPoolExecutor(_AHEAD) as pool:
            try:
                for one in stored:
                    coming.append((one, pool.submit(self._bucket.held, one.name)))
                    if len(coming) > _AHEAD:
                        found, content = coming.popleft()
                        yield found, content.result()
                for found, content in coming:
                    yield found, content.result()
            finally:
                for _, content in coming:
                    content.cancel()


def _object_name(part: str) -> str:
    """The name of an object below the address of its log; that of a part begins with its day."""
    return f"day={part[:10]}/{part[11:]}{ENDING}"


def _day(name: str) -> date:
    """The day of an object or a file of the spool; of what is neither, one that no log has."""
    try:
        return date.fromisoformat(name.removeprefix("day=")[:10])
    except ValueError:
        return date.min
