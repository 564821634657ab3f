"""The spool of a log that is kept in a bucket: what this machine has not uploaded yet.

A server writes segments, `<day>.<host>.<process>.<time>.segment`, in the folder that the log would have without a
bucket. The uploader takes one by renaming it to `.closed`, while it holds the lock of the file that a server holds for
the moment of a write. So nothing is written to a closed segment: it is uploaded, then deleted. No writer ever waits.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from slipway.base.errors import MlopsError
from slipway.log.store import day_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OPEN, CLOSED = ".segment", ".closed"

#: Of a segment so much becomes one object, to the end of a line.
PART_BYTES = 8_000_000

#: A server that wrote into the folder before its log went to a bucket has ended by then.
_LEFT_DAYS = 2
_TRIES, _MOMENT_S = 20, 0.005


class Spool:
    """The segment that this process writes. Raises `OSError` when lines are not kept, as a folder does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder
        self._file: int | None = None
        self._ends_torn = False
        if fcntl is None:
            raise MlopsError(
                "a log in a bucket needs Linux or macOS, to hand its files from one process to another",
                "leave `log` below `serving` out of policy.yaml on this machine",
            )

    def append(self, lines: bytes) -> None:
        """Write with one call, to a segment that nobody has taken."""
        for _ in range(3):
            file = self._segment()
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                continue
            try:
                if self._path.exists():
                    self._write(file, lines)
                    return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
            self.close()
        raise OSError(f"each new segment in {self._folder} is taken at once")

    def close(self) -> None:
        """Let go of the segment."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _segment(self) -> int:
        today = datetime.now(UTC).date()
        if self._file is not None and day_of(self._path) == today:
            return self._file
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / f"{today}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}{OPEN}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._ends_torn = False
        return self._file

    def _write(self, file: int, lines: bytes) -> None:
        # A line that was torn off is ended first, so that it spoils no other.
        block = b"\n" + lines if self._ends_torn else lines
        self._ends_torn = True
        if os.write(file, block) != len(block):
            raise OSError("the disk took only a part of it")
        self._ends_torn = False


def spooled(folder: Path) -> list[Path]:
    """Every file of a log that is still here, older days first; also those from before it went to a bucket."""
    found = [path for path in folder.glob("*") if path.suffix in (OPEN, CLOSED, ".jsonl") and day_of(path)]
    return sorted(found)


def waiting_s(folder: Path) -> float:
    """How old the oldest segment is, in seconds, by the time in its name; 0 where there is none."""
    begun = [path.stem.rpartition(".")[2] for path in folder.glob("*") if path.suffix in (OPEN, CLOSED)]
    return max((time.time() - int(at) / 1e9 for at in begun if at.isdecimal()), default=0.0)


def take(folder: Path, today: date) -> list[Path]:
    """Close every segment that nobody is writing to at this moment, and return all that are closed, oldest first.

    What a log was before it went to a bucket is closed two days later: no server of that time is left.
    """
    for path in spooled(folder):
        day = day_of(path)
        if path.suffix == OPEN:
            _close(path)
        elif path.suffix == ".jsonl" and day and day <= today - timedelta(days=_LEFT_DAYS):
            # Another process may have had the same name, and the name of an object is for ever.
            path.rename(path.with_name(f"{path.stem}.{time.time_ns()}{CLOSED}"))
    return [path for path in spooled(folder) if path.suffix == CLOSED]


def _close(path: Path) -> None:
    """Close a segment; one whose writer holds it for longer than a write takes is left for the next time."""
    with path.open("r+b") as file:
        for _ in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_MOMENT_S)
                continue
            path.rename(path.with_suffix(CLOSED))
            return


def parts(file: BinaryIO, stem: str, size: int) -> Iterator[tuple[str, bytes]]:
    """The names of the objects that a segment becomes, as far as `size`, and the lines of each.

    Of a segment that grows meanwhile the same parts have the same names.
    """
    start = 0
    while start < size:
        lines = file.read(min(PART_BYTES, size - start))
        if not lines.endswith(b"\n"):
            lines += file.readline(max(0, size - start - len(lines)))
        if not lines:
            return
        yield f"{stem}.{start:012}", lines
        start += len(lines)
