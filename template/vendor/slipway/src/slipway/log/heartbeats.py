"""Signs of life of the servers that keep their log in one bucket: who serves what, and when that was last true.

    <address>/fleet/<environment>/<machine>.<start>.json

What keeps servers on a machine writes such a file into `.mlops/fleet/<environment>/` and takes it away when they stop;
the uploader makes the bucket the same. No request waits for either.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from slipway.base import files
from slipway.base.buckets import Bucket

#: How often a machine says what it serves.
EVERY_S = 30
#: Three of these have been missed, with the time of an upload.
STALE_S = 4 * EVERY_S
#: Whatever has been silent for so long is removed by whoever is alive.
KEPT = timedelta(days=7)

_FLEET = "fleet"
_ENDING = ".json"
_AT_ONCE = 8


class ServedVersion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version that a machine serves: `champion`, or the mode of a challenger. `platform` is the digest of its wheel.

    `commit` is that of the environment's file by which it was deployed, `share` how much a challenger is asked.
    """

    role: str
    version: int
    digest: str
    platform: str = ""
    commit: str = ""
    share: float = 0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine serves of an environment, in so many `workers` each, from `started` until it was last `seen`."""

    environment: str
    machine: str
    started: datetime
    seen: datetime
    address: str
    workers: int
    served: list[ServedVersion]

    @property
    def name(self) -> str:
        """What its file is called: a machine that starts anew has another one."""
        return f"{self.machine}.{self.started:%Y%m%dT%H%M%S.%f}{_ENDING}"


def machine() -> str:
    """How this machine is called."""
    return socket.gethostname()


def folder(state: Path, environment: str) -> Path:
    """Where the heartbeats of this machine are."""
    return state / _FLEET / environment


def write(state: Path, beat: Heartbeat) -> Path:
    """Write a heartbeat where the uploader finds it; raises `OSError` when that cannot be done."""
    path = folder(state, beat.environment) / beat.name
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, msgspec.json.encode(beat))
    return path


def forget_others(path: Path) -> None:
    """Remove what was said before on this machine, by whoever was killed before it could take that back."""
    for other in path.parent.glob(f"*{_ENDING}"):
        if other != path:
            other.unlink(missing_ok=True)


def local(state: Path, environment: str) -> list[Heartbeat]:
    """What was last said on this machine."""
    contents = (path.read_bytes() for path in sorted(folder(state, environment).glob(f"*{_ENDING}")))
    return [beat for content in contents if (beat := _decoded(content))]


class HeartbeatSync:
    """Makes the heartbeats of an environment in a bucket those of this machine, and leaves others as they are."""

    def __init__(self, state: Path, environment: str, address: str) -> None:
        self._bucket = Bucket(f"{address.rstrip('/')}/{_FLEET}/{environment}")
        self._folder = folder(state, environment)
        self._there: dict[str, bytes] = {}
        self._cleaned_at: float | None = None

    def sync(self) -> None:
        """Write what is new or has changed, and remove what is gone; raises `MlopsError` where the bucket is away."""
        here = {path.name: path.read_bytes() for path in self._folder.glob(f"*{_ENDING}")}
        for name, content in here.items():
            if self._there.get(name) != content:
                self._bucket.put(name, content)
                self._there[name] = content
        if gone := [name for name in self._there if name not in here]:
            self._bucket.delete(gone)
            self._there = here
        self._clean()

    def _clean(self) -> None:
        """Once a day, remove what nobody has brought up to date for long: a machine that was lost cannot."""
        now = time.monotonic()
        if not self._there or (self._cleaned_at is not None and now - self._cleaned_at < 86_400):
            return
        self._cleaned_at, since = now, datetime.now(UTC) - KEPT
        contents = [(one.name, self._bucket.held(one.name)) for one in self._bucket.list()]
        beats = [(name, _decoded(content)) for name, content in contents]
        self._bucket.delete([name for name, beat in beats if beat and beat.seen < since])


def read(address: str, environments: Iterable[str], timeout_s: float) -> dict[str, list[Heartbeat]]:
    """The heartbeats of environments in a bucket, by machine; raises `MlopsError` where it is away."""
    bucket = Bucket(f"{address.rstrip('/')}/{_FLEET}", patience_s=timeout_s)
    names = [one.name for one in bucket.list() if one.name.endswith(_ENDING)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        beats = [beat for content in pool.map(bucket.held, names) if (beat := _decoded(content))]
    return {name: [beat for beat in beats if beat.environment == name] for name in environments}


def _decoded(content: bytes | None) -> Heartbeat | None:
    """What a machine says; `None` of one that has stopped since it was listed."""
    try:
        return None if content is None else msgspec.json.decode(content, type=Heartbeat)
    except (msgspec.DecodeError, UnicodeDecodeError):  # somebody else's, or a later release's
        return None
