"""Ask a data remote what one may do there; run as a program of its own, which can hang without harm.

`python -I asking.py FOLDER NAME WAYS SECONDS RIGHT...` prints a line of JSON for each right: its name, what was said
where it is missing, and whether that was a refusal. It needs DVC and nothing of the platform, and ends so long after
DVC is loaded, come what may.
Writing leaves one small object in a bucket, since who trains need not be allowed to delete; elsewhere nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import uuid
from typing import Any

#: Beside what DVC keeps there.
OBJECT = "mlops-connections"
CONTENT = b"mlops connections may write here\n"


def main(folder: str, name: str, ways: str, seconds: str, *rights: str) -> None:
    """Ask for each of the rights in turn. `ways` is how to write: create, overwrite or remove."""
    os.chdir(folder)
    import logging

    from dvc.config import Config
    from dvc.fs import get_cloud_fs

    logging.disable()
    # What takes longest is loading, and that is not the remote's fault.
    kind, options, path = get_cloud_fs(Config(f"{folder}/.dvc"), name=name)
    for module in kind.REQUIRES.values():
        importlib.import_module(module)
    asked = _Asked(seconds)
    alarm = threading.Timer(float(seconds), asked.give_up)
    alarm.daemon = True
    alarm.start()
    place = _Place(kind, options, path, ways)
    for right in rights:
        asked.right = right
        try:
            getattr(place, right)()
        except Exception as problem:  # noqa: BLE001 - each client has errors of its own
            asked.tell(_said(problem), is_refused=_is_refusal(problem))
        else:
            asked.tell("")
    sys.stdout.flush()
    # Clients leave threads behind that may wait for a server for minutes.
    os._exit(0)


class _Asked:
    """The right that is being asked for."""

    def __init__(self, seconds: str) -> None:
        self.right, self._seconds = "", seconds

    def tell(self, problem: str, *, is_refused: bool = False) -> None:
        """Print what became of it."""
        said = {"right": self.right, "problem": problem, "is_refused": is_refused}
        print(json.dumps(said), flush=True)  # noqa: T201

    def give_up(self) -> None:
        """End this process."""
        self.tell(f"no answer within {self._seconds} seconds")
        os._exit(0)


class _Place:
    """The place, and one way to use each right."""

    def __init__(self, kind: Any, options: dict[str, Any], path: str, ways: str) -> None:
        self._kind, self._options = kind, options
        self._remote: Any = None
        self._path, self._ways = path, ways

    @property
    def _fs(self) -> Any:
        """The client. Some connect as soon as they are made."""
        self._remote = self._remote or self._kind(**self._options)
        return self._remote

    def list(self) -> None:
        """Look what is there. Where nothing is yet, that is an answer, too."""
        try:
            self._fs.ls(self._path)
        except FileNotFoundError:
            return

    def read(self) -> None:
        """Read our object; that it is not there is only said to who may read."""
        try:
            self._fs.cat_file(self._at(OBJECT))
        except FileNotFoundError:
            return

    def write(self) -> None:
        """Write our object, which a bucket keeps."""
        if self._ways == "remove":
            self._write_and_remove()
            return
        # Who may not delete may not overwrite at some providers, so what is there stays there.
        mode = {"mode": "create"} if self._ways == "create" else {}
        try:
            self._fs.fs.pipe_file(self._at(OBJECT), CONTENT, **mode)
        except FileExistsError:
            return

    def delete(self) -> None:
        """Delete an object that never was: that it is not there is only said to who may delete."""
        try:
            self._fs.fs.rm_file(self._at(f"{OBJECT}-{uuid.uuid4().hex}"))
        except FileNotFoundError:
            return

    def _write_and_remove(self) -> None:
        self._fs.makedirs(self._path, exist_ok=True)
        place = self._at(f"{OBJECT}-{uuid.uuid4().hex}")
        self._fs.pipe_file(place, CONTENT)
        self._fs.rm_file(place)

    def _at(self, name: str) -> str:
        return str(self._fs.join(self._path, name))


def _is_refusal(problem: BaseException | None) -> bool:
    """Whether somebody is not allowed to, by the error or by one that it was raised for."""
    while problem is not None:
        codes = {str(getattr(problem, name, "")) for name in ("code", "status", "status_code")}
        # Some clients have a kind of error for it, some a number, and Google's a word.
        is_denied = isinstance(problem, PermissionError) or "PermissionDenied" in type(problem).__name__
        if is_denied or codes & {"401", "403"} or str(problem).startswith("Forbidden"):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _said(problem: BaseException) -> str:
    """The first line of what went wrong, at its root where the client has wrapped that."""
    lines = str(problem).strip().splitlines()
    return (lines[0] if lines else type(problem).__name__)[:200]


if __name__ == "__main__":
    main(*sys.argv[1:])
