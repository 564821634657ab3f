"""What a worker does: it proves that it has the client's code, then calls the function.

`work` takes nothing but plain types, so that a worker with other code still gets as far as to say so.
"""

from __future__ import annotations

import hashlib
import pickle
import socket
import traceback
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import slipway
from slipway import team
from slipway.base.errors import MlopsError, first_line
from slipway.base.files import sha256
from slipway.training.engines.base import WorkLostError

#: Whose versions decide the last bit of a result.
LIBRARIES = ("numpy", "onnxruntime", "polars", "scikit-learn")


@cache
def code() -> dict[str, str]:
    """Digests of the platform's modules and of the team's, and the versions of what they compute with."""
    folders = {"slipway": Path(slipway.__file__).parent, team.PACKAGE: team.source("contract").parent}
    return {name: _digest(folder) for name, folder in folders.items()} | {name: version(name) for name in LIBRARIES}


def _digest(folder: Path) -> str:
    lines = [f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in sorted(folder.rglob("*.py"))]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def work(client: dict[str, str], function: bytes, chunk: bytes) -> bytes:
    """Call a pickled function with a pickled chunk; return, pickled, whether that went well, and what came of it.

    `client` is the `code` of the client. What went wrong is an exception, with a note of the worker.
    """
    try:
        _require(client)
        call, given = _understood(function, chunk)
        return _sent_back(call(given))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the client's to raise
        return pickle.dumps((False, _sendable(error)))


def _understood(function: bytes, chunk: bytes) -> tuple[Callable[[Any], Any], Any]:
    try:
        return _loaded(function), pickle.loads(chunk)  # noqa: S301 - what the client sent
    except Exception as error:
        raise WorkLostError(
            f"a worker cannot take the work: {type(error).__name__}: {first_line(error)}",
            "can it see the folders that the work names, and import the project's packages?",
        ) from error


def _sent_back(result: Any) -> bytes:
    try:
        return pickle.dumps((True, result))
    except Exception as error:
        raise WorkLostError(
            f"a result cannot be sent back: {first_line(error)}", "return what Python can pickle"
        ) from error


@lru_cache(maxsize=1)
def _loaded(function: bytes) -> Callable[[Any], Any]:
    made: Callable[[Any], Any] = pickle.loads(function)  # noqa: S301 - what the client sent
    return made


def _require(client: dict[str, str]) -> None:
    here = code()
    if differing := [name for name in client if here.get(name) != client[name]]:
        told = ", ".join(f"{name} {here.get(name, 'none')[:19]} and not {client[name][:19]}" for name in differing)
        raise WorkLostError(
            f"the worker on {socket.gethostname()} has other code than this client: {told}",
            "install the project's lock and both wheels of this commit there, and start the workers anew",
        )


def _sendable(error: Exception) -> Exception:
    """The error as it can be sent, with the worker's name."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this line itself pickles
    except Exception:  # noqa: BLE001 - some errors cannot be made again from what they hold
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"on {socket.gethostname()}")
    if not isinstance(error, MlopsError):
        error.add_note(trace)
    return error
