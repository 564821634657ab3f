"""The folder in which the server processes of an environment and its commands meet: `.mlops/environments/<name>/`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import filelock
import msgspec

from slipway.base import files
from slipway.delivery.target import Run

T = TypeVar("T", bound=msgspec.Struct)


class EnvironmentFolder:
    """The JSON files of an environment, its log, and the lock of whoever supervises it."""

    def __init__(self, state: Path, environment: str) -> None:
        self.state = state
        self.folder = state / "environments" / environment
        self.log = self.folder / "server.log"
        self.target = state / "targets" / f"{environment}.json"
        self._lock = self.folder / "supervisor.lock"

    def lock(self, timeout_s: float = 0) -> filelock.BaseFileLock:
        """The lock that a living supervisor holds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._lock, timeout=timeout_s)

    def is_supervised(self) -> bool:
        """Whether a supervisor is alive. The answer comes from the kernel, not from a file."""
        try:
            with self.lock():
                return False
        except filelock.Timeout:
            return True

    def path_of(self, kind: type[msgspec.Struct]) -> Path:
        """Where a JSON file is: it has the name of its type."""
        return self.folder / f"{kind.__name__.lower()}.json"

    def read(self, kind: type[T]) -> T | None:
        """Read one of the JSON files; `None` when there is none that can be read."""
        try:
            return msgspec.json.decode(self.path_of(kind).read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, content: msgspec.Struct) -> None:
        """Replace one of the JSON files in one step."""
        files.write(self.path_of(type(content)), msgspec.json.encode(content))

    def announce(self, run: Run) -> None:
        """Say where an environment answers, as Prometheus reads it (its documentation, "file_sd_config")."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(run.host, run.host)  # noqa: S104 - who listens everywhere
        address = f"[{host}]:{run.port}" if ":" in host else f"{host}:{run.port}"
        labels = {"environment": run.environment} | ({"__scheme__": "https"} if run.tls else {})
        targets = [{"targets": [address], "labels": labels}]
        self.target.parent.mkdir(exist_ok=True)
        files.write(self.target, msgspec.json.encode(targets))

    def forget(self, kind: type[msgspec.Struct]) -> None:
        """Remove one of them."""
        self.path_of(kind).unlink(missing_ok=True)
