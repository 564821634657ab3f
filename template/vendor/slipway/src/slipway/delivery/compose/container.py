"""What runs inside the serve image: `serve`, and `check`, which tells whether it answers.

What to serve comes from the environment, where every kind of container platform can put it. The bundle
is a folder at `/bundle`: beside the image and mounted, or in it. Where nothing else on the machine can bring the log
into its bucket, `MLOPS_UPLOAD` lets the container do that.
"""

from __future__ import annotations

import http
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.base import files
from slipway.base import http as client
from slipway.base.errors import MlopsError
from slipway.delivery import uploads, variables
from slipway.delivery.beats import HeartbeatKeeper
from slipway.delivery.compose.told import ToldChallenger
from slipway.delivery.folder import EnvironmentFolder
from slipway.delivery.processes import KILL_AFTER_S, START_S, TICK_S, Group, log, open_listener
from slipway.delivery.target import Admitted, Run

BUNDLE = "/bundle"
PORT = 8000
STATE = Path(".mlops").absolute()


def serve() -> None:
    """Serve the bundle, if it is the one that was promised, until a signal ends it."""
    run = _run()
    with _uploading(run) as beats:
        _keep(run, beats)


@contextmanager
def _uploading(run: Run) -> Iterator[HeartbeatKeeper | None]:
    """Bring what is logged into its bucket until the block ends, where this container is told to."""
    if not os.environ.get("MLOPS_UPLOAD"):
        yield None
        return
    beats = HeartbeatKeeper(STATE)
    with uploads.beside(STATE, run.environment, run.limits.log):
        try:
            yield beats
        finally:
            beats.end()


def _keep(run: Run, beats: HeartbeatKeeper | None) -> None:
    place = EnvironmentFolder(STATE, run.environment)
    place.folder.mkdir(parents=True, exist_ok=True)  # a challenger beside this may be the first to need it, or the last
    admit(place)
    group = Group(run, open_listener(run), place, os.environ.get("MLOPS_COUNTS") or socket.gethostname())
    challenger = ToldChallenger(place)
    is_stopping = False

    def stop(*_: object) -> None:
        nonlocal is_stopping
        is_stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    is_proven = False
    while not is_stopping:
        if is_proven:
            group.keep()
            rival = challenger.keep()
            if beats:
                beats.keep(run, rival)
        elif group.is_alive and not group.is_hung:
            group.read_messages()
            is_proven = group.is_ready
        else:
            _give_up(group)
        time.sleep(TICK_S)
    _end(group)


def admit(place: EnvironmentFolder) -> None:
    """Let the servers find who may ask; in a container whose folder is mounted, they do."""
    path, said = place.path_of(Admitted), os.environ.get("MLOPS_ADMITTED")
    if said:
        files.write(path, said.encode())
    elif variables.ADMITTED.parent.is_dir():
        path.unlink(missing_ok=True)
        path.symlink_to(variables.ADMITTED)  # the file behind it changes while servers run


def _give_up(group: Group) -> None:
    """End without having answered; Docker starts the container again."""
    if group.is_hung:
        log(f"the server was not ready within {START_S} seconds")
        group.kill()
    sys.exit(1)  # one that has ended has said itself why


def _end(group: Group) -> None:
    """Let the servers finish what they have."""
    group.terminate()
    deadline = time.monotonic() + KILL_AFTER_S
    while not group.is_gone and time.monotonic() < deadline:
        time.sleep(TICK_S)
    group.kill()


def check() -> None:
    """Refuse unless the server of this container is ready with the bundle that was promised."""
    path = os.environ.get("MLOPS_SOCKET")
    if path:
        os.chdir(STATE)  # the path of a socket has to be short
    try:
        answer = client.ask("127.0.0.1", PORT, "/ready", unix_socket=path, timeout_s=4)
        digest = answer.json()["digest"] if answer.status == http.HTTPStatus.OK else ""
    except (OSError, ValueError) as error:
        raise MlopsError(f"the server of this container is not ready: {error}", "read its log") from None
    if digest != os.environ.get("MLOPS_DIGEST"):
        raise MlopsError(f"the server of this container answers with {digest or 'nothing yet'}", "deploy again")


def _run() -> Run:
    """What this container runs; a challenger listens on a path in the folder that it shares with the champion."""
    if not Path(BUNDLE).is_dir():
        raise MlopsError(
            f"there is no bundle at {BUNDLE}, in the image or beside it",
            "mlops build --push makes an image with one where an environment is in a cluster; then promote again",
        )
    os.chdir(STATE)
    everywhere = "0.0.0.0"  # noqa: S104 - inside the container; the platform decides who reaches it
    return variables.read(os.environ, bundle=BUNDLE, host=everywhere, port=PORT, python=sys.executable)


if __name__ == "__main__":
    try:
        {"serve": serve, "check": check}[sys.argv[1]]()
    except MlopsError as error:
        sys.exit(str(error))
