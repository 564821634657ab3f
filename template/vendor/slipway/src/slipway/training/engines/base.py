"""What an engine is: Python's own executor, with what a cluster can say of itself."""

from __future__ import annotations

import socket
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slipway.base.errors import MlopsError, first_line
from slipway.base.files import Log
from slipway.settings.project import source_of

#: How often a piece of work is begun again whose worker was lost. Dask and Ray count in their own way; see each.
RETRIES = 3
#: How long an address and a first worker are waited for, and after how long it is said what is waited for.
ANSWER_S, WORKER_S, SILENT_S = 5.0, 60.0, 30.0


@dataclass(frozen=True)
class EngineSettings:
    """What `[tool.mlops]` says of the engine, which may be nothing, and a folder for files that are not in Git."""

    address: str
    workers: int | None
    state: Path
    log: Log


class Engine(Executor):
    """An executor on a cluster; `workers` is how many pieces of work it does at a time."""

    workers: int
    home: tuple[str, int, str] | None = None  # as `require_answer` takes it, of a cluster that may go away

    def share(self, content: bytes) -> Any:
        """Send what many tasks need, once; a task that is submitted with what this returns gets the bytes."""
        return content


class WorkLostError(MlopsError):
    """Work that an engine has not done, whatever the function does."""


def require_answer(address: str, default_port: int, engine: str) -> None:
    """Refuse an address of a cluster that is none, or at which nobody listens."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port or default_port
    except ValueError:
        host, port = None, 0
    if not host:
        raise MlopsError(
            f"{source_of('engine_address')}: {address or 'nothing'} is no address of a {engine} cluster",
            f'name it, like engine_address = "tcp://10.0.0.5:{default_port}"',
        )
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError as error:
        raise unreachable(engine, address, error.strerror or str(error)) from None


def unreachable(engine: str, address: str, reason: object) -> MlopsError:
    """What is said of a cluster that does not answer."""
    return MlopsError(
        f"no {engine} cluster answers at {address}: {first_line(reason)}",
        "start it, name another in tool.mlops.engine_address, or work here for once: MLOPS_ENGINE=local",
    )
