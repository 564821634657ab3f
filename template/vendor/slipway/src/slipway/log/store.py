"""Where the append-only logs of the servers are kept: predictions, and what was refused.

A log of an environment is kept in a sink. The usual one is a folder, `.mlops/<log>/<environment>/`, with files
`<day>.<host>.<process>.jsonl`: each process writes files of its own, so that no two ever write into the same one.
`serving.log` in policy.yaml may name another one by its address; the part before the colon is the name of an entry
point of the group `slipway.log`, a function that gets a `LogPlace` and returns a `Sink`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from slipway.base import buckets, plugins
from slipway.base.errors import MlopsError
from slipway.settings.project import Project

GROUP = "slipway.log"
_BUCKET = "slipway.log.bucket"

#: Of the objects of a log in a bucket.
ENDING = ".parquet"

#: The record of what was erased, and all logs of an environment: answers, refusals, labels that were posted, and it.
ERASURES = "erasures"
LOGS = ("predictions", "refused", "labels", ERASURES)

#: Of the times of rows.
RESOLUTION = timedelta(microseconds=1)


class LogPlace(NamedTuple):
    """Which log of which environment a sink is for; `state` is the folder for local state."""

    state: Path
    log: str
    environment: str
    address: str = ""

    @property
    def folder(self) -> Path:
        """Where the log is when it is kept on this machine."""
        return self.state / self.log / self.environment


class Sink(Protocol):
    """Keeps the lines of one log of one environment. A line is a JSON object; its first member may be its `id`."""

    def append(self, lines: bytes) -> None:
        """Keep whole lines, each with its end; raises `OSError` when they are not kept."""

    def scan(self, since: datetime | None, until: datetime | None) -> Iterator[bytes]:
        """Every line that may have been written in that time, older days first; torn and other lines may be among them.

        `since` is included, `until` is not; both know their time zone.
        """

    def find(self, id_: str) -> Iterator[bytes]:
        """Every line that has this id."""

    def forget(self, day: date) -> int:
        """Delete what was written on that day (UTC) and before; return how many files or objects these were.

        Raises `MlopsError` when something cannot be deleted.
        """

    def close(self) -> None:
        """Let go of what is open; a later `append` opens it again."""


class LogFile(NamedTuple):
    """A file or object of a log: when it was written to, and what changes whenever its content does."""

    name: str
    day: date
    state: tuple[int, ...]


@runtime_checkable
class DatedSink(Protocol):
    """A sink that says what it holds without reading it. Of a log in any other the monitor reads all each time."""

    def files(self) -> list[LogFile]:
        """Every file or object of the log, older days first."""


@runtime_checkable
class ErasingSink(Protocol):
    """A sink out of which single lines can be taken."""

    def erase(self, is_meant: Callable[[bytes], bool]) -> int:
        """Take out every line that is meant, wherever the log is kept; return how many these were.

        Raises `MlopsError` when that cannot be done; what was taken out by then stays out.
        """


@runtime_checkable
class SpooledSink(Protocol):
    """A sink that keeps lines on this machine until they are where the log is."""

    def waiting_s(self) -> float:
        """For how long the oldest of them has waited, in seconds; 0 where none waits."""


class FolderSink:
    """Files in a folder of this machine, one for each day and process."""

    def __init__(self, place: LogPlace) -> None:
        self._folder = place.folder
        self._file: int | None = None
        self._day: date | None = None
        self._ends_torn = False

    def append(self, lines: bytes) -> None:
        """Write with one call. A line that was torn off is ended first, so that it spoils no other."""
        try:
            file = self._todays_file()
            block = b"\n" + lines if self._ends_torn else lines
            if os.write(file, block) != len(block):
                raise OSError("the disk took only a part of it")
        except OSError:
            self._ends_torn = True
            raise
        self._ends_torn = False

    def scan(self, since: datetime | None, until: datetime | None) -> Iterator[bytes]:
        """The lines of the files of these days."""
        first, last = days_of(since, until)
        for path in self._files():
            day = day_of(path)
            if day and first <= day <= last:
                yield from _lines(path)

    def files(self) -> list[LogFile]:
        """Every file with its size and the time of its last change."""
        found = [(path, day) for path in self._files() if (day := day_of(path))]
        return [LogFile(path.name, day, (path.stat().st_size, path.stat().st_mtime_ns)) for path, day in found]

    def find(self, id_: str) -> Iterator[bytes]:
        """The lines that begin with the id, newest file first."""
        needle = msgspec.json.encode({"id": id_})[:-1]
        for path in reversed(self._files()):
            yield from (line for line in _lines(path) if line.startswith(needle))

    def forget(self, day: date) -> int:
        """Delete files; what is no file of the log stays."""
        old = [path for path in self._files() if (written := day_of(path)) and written <= day]
        for path in old:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise MlopsError(f"{path} is too old to be kept and cannot be deleted: {error}", "delete it") from None
        return len(old)

    def erase(self, is_meant: Callable[[bytes], bool]) -> int:
        """Write blanks over the lines, so that a server can go on writing to the same file."""
        return sum(blank(path, is_meant) for path in self._files())

    def close(self) -> None:
        """Close today's file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _todays_file(self) -> int:
        today = datetime.now(UTC).date()
        if self._file is not None and self._day == today:
            return self._file
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{today.isoformat()}.{socket.gethostname()}.{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._day = today
        # The number of a process is used again after a while: its file may end in a torn line.
        self._ends_torn = self._ends_torn or os.fstat(self._file).st_size > 0
        return self._file


def days_of(since: datetime | None, until: datetime | None) -> tuple[date, date]:
    """The first and the last day on which rows of that time may have been written.

    A row asked for just before midnight may be written just after it.
    """
    first = since.astimezone(UTC).date() if since else date.min
    return first, (until - RESOLUTION).astimezone(UTC).date() + timedelta(days=1) if until else date.max


def day_of(path: Path) -> date | None:
    """The day (UTC) of a file of a log; `None` for a file that is none."""
    try:
        return date.fromisoformat(path.name[:10])
    except ValueError:
        return None


def opened(place: LogPlace) -> Sink:
    """The sink at an address; raises `MlopsError` for an address of an unknown kind."""
    if not place.address:
        return FolderSink(place)
    if buckets.is_bucket(place.address):
        kept: Sink = import_module(_BUCKET).BucketSink(place)  # by its name: it stands on this module
        return kept
    scheme, known = place.address.partition(":")[0], plugins.names(GROUP)
    if scheme not in known:
        raise MlopsError(
            f"policy.yaml, serving.log: nothing here keeps a log at {place.address}",
            f"install what provides {scheme} in the entry-point group {GROUP} (there is {', '.join(known) or 'none'})",
        )
    sink: Sink = plugins.load(GROUP, scheme)(place)
    return sink


def sink_of(project: Project, log: str, environment: str) -> Sink:
    """The sink of a log, as the project's policy has it; where there is no policy, the folder."""
    has_policy = (project.root / "policy.yaml").is_file()
    return opened(LogPlace(project.state, log, environment, project.policy.serving.log if has_policy else ""))


def environments(project: Project, log: str) -> list[str]:
    """The environments that may have such a log: those with a file, those with a folder of it, and `mlops serve`."""
    files = project.environments.glob("*.yaml")
    folders = (path for path in (project.state / log).glob("*") if path.is_dir())
    return sorted({"local"} | {path.stem for path in files} | {path.name for path in folders})


def blank(path: Path, is_meant: Callable[[bytes], bool]) -> int:
    """Write blanks over lines of a file that others may go on writing to; return how many these were."""
    erased = 0
    try:
        with path.open("r+b") as file:
            while line := file.readline():
                if not is_meant(line):
                    continue
                end = file.tell()
                file.seek(end - len(line))
                file.write(b" " * len(line.rstrip(b"\n")))
                file.seek(end)
                erased += 1
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MlopsError(
            f"{path} of the log cannot be changed: {error}", "make it writable, then erase again"
        ) from None
    return erased


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise MlopsError(f"{path} of the log cannot be read: {error}", "make it readable, or move it away") from None
