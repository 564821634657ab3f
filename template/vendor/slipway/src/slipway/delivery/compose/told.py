"""What a container is told of a challenger in the container beside it, which shares its folder for state.

Where there may be one, whoever deployed both has mounted a folder with a file that says so and may change at any time;
or a variable, `MLOPS_RIVAL`, says so for good.
"""

from __future__ import annotations

import http
import os
import time
from pathlib import Path

import msgspec

from slipway.base import http as client
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.processes import log
from slipway.delivery.target import Rival, Traffic

FILE = Path("/challenger/rival.json")
#: The folder of counts of a challenger: the host of both containers has the same name.
COUNTS = "challenger"

_LOOK_EVERY_S = 1.0
_PATIENCE_S = 1.0


class ToldChallenger:
    """Lets the champion's servers know of a challenger that is ready, and of the requests that it gets."""

    def __init__(self, place: EnvironmentFolder) -> None:
        self._place = place
        self._variable = os.environ.get("MLOPS_RIVAL", "").encode()
        self._is_told = bool(self._variable) or FILE.parent.is_dir()
        if self._is_told:
            place.forget(Traffic)  # what a container said that was killed
        self._said = b""
        self._rival: Rival | None = None
        self._look_at = 0.0

    def keep(self) -> Rival | None:
        """Take notice of a file that has changed; returns the challenger that gets requests."""
        if not self._is_told or time.monotonic() < self._look_at:
            return self._rival
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        said = self._variable or (FILE.read_bytes() if FILE.is_file() else b"")
        if said == self._said:
            return self._rival
        rival = _decoded(said)
        if rival and not is_ready(rival.run.host, rival.run.digest):
            return self._rival
        self._said, self._rival = said, rival
        self._direct(rival)
        return rival

    def _direct(self, rival: Rival | None) -> None:
        if rival is None:
            self._place.forget(Traffic)
            return
        counts = str(self._place.folder / "counts" / COUNTS)
        self._place.write(
            Traffic(
                version=rival.run.version, socket=rival.run.host, counts=counts, mode=rival.mode, share=rival.share,
                key=rival.key,
            )
        )  # fmt: skip


def is_ready(path: str, digest: str) -> bool:
    """Whether a server that listens on this socket answers with a bundle."""
    try:
        answer = client.ask("127.0.0.1", 0, "/ready", unix_socket=path, timeout_s=_PATIENCE_S)
        return answer.status == http.HTTPStatus.OK and answer.json()["digest"] == digest
    except (OSError, ValueError, KeyError):
        return False


def _decoded(said: bytes) -> Rival | None:
    if not said:
        return None
    try:
        return msgspec.json.decode(said, type=Rival)
    except msgspec.MsgspecError as error:
        log(f"MLOPS_RIVAL or {FILE} cannot be read, so there is no challenger: {error}")
        return None
