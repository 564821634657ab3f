"""A server process: it listens, tells its supervisor how it is, and goes away without failing a request."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from slipway.base.errors import MlopsError
from slipway.serving.app import App
from slipway.serving.link import Link
from slipway.serving.tls import Certificate

if TYPE_CHECKING:
    from slipway.serving.fastpath import Wire

logger = logging.getLogger(__name__)

#: The versions of uvicorn with which the fast path was tried.
TRIED = ("0.54",)

#: An idle connection is closed after this long; a client must expect that of any server.
KEEP_ALIVE_S = 5
FOREVER_S = 7 * 86_400

#: A draining worker waits a little longer, so that each idle connection either asks once more
#: and is told to close, or has been idle for so long that closing it is no surprise.
DRAIN_S = KEEP_ALIVE_S + 1

GRACE_S = 10


def fast_path() -> type[Wire] | None:
    """What takes plain requests past ASGI; `None`, and a line in the log, where this uvicorn may not allow it."""
    try:
        if uvicorn.__version__.rpartition(".")[0] not in TRIED:
            raise ImportError(f"it was tried with {', '.join(TRIED)} only")
        from slipway.serving.fastpath import Wire
    except ImportError as error:
        logger.warning("the fast path is off, because uvicorn is %s: %s", uvicorn.__version__, error)
        return None
    return Wire


def listen(host: str, port: int, fd: int | None = None) -> socket.socket:
    """Return a listening socket: the inherited `fd`, or a new one."""
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise MlopsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            "stop the process that listens there, or choose another port",
        ) from None


class Worker(uvicorn.Server):
    """uvicorn, with an ending that loses nothing.

    Asked to terminate, it stops accepting, goes on answering the connections it has, tells each
    client to close, and ends when the last one has gone or has been idle for `DRAIN_S`.
    """

    def __init__(
        self,
        app: App,
        listener: socket.socket,
        supervisor: Link,
        *,
        wants_fast_path: bool = True,
        certificate: Certificate | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        """With a `certificate` it speaks HTTPS. Who asked is believed `proxies`; without any, uvicorn's default."""
        # A champion keeps its lines to a challenger open, however seldom it needs them.
        keep_alive_s = FOREVER_S if listener.family == getattr(socket, "AF_UNIX", None) else KEEP_ALIVE_S
        self._fast_path = fast_path() if wants_fast_path else None
        super().__init__(
            uvicorn.Config(
                app,
                http=self._fast_path or "auto",
                access_log=False,
                lifespan="off",
                ws="none",
                log_level="warning",
                server_header=False,
                timeout_keep_alive=keep_alive_s,
                timeout_graceful_shutdown=GRACE_S,
                ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
                forwarded_allow_ips=[*proxies] or None,
            )
        )
        self._certificate = certificate
        self._app = app
        self._listener = listener
        self._supervisor = supervisor
        self._drained_at = 0.0

    def serve_until_told(self) -> None:
        """Serve; returns when the last client has been served."""
        gc.collect()
        gc.freeze()  # what is loaded now stays: the collector need not look at it during requests
        self.run(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._supervisor.socket is not None:
            self._supervisor.socket.setblocking(False)
            self._loop.add_reader(self._supervisor.socket, self._drain)
        self._supervisor.tell("alive")
        self._supervisor.tell("ready")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain when asked to terminate, stop at once when a person presses Ctrl+C."""
        if sig == signal.SIGTERM and self.started:
            self._loop.call_soon_threadsafe(self._drain)
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Look around ten times a second: has the last client gone, is one too slow?"""
        self._app.tick()
        if counter % 10 == 0:
            self._supervisor.tell("alive")
            if self._certificate is not None:
                self._certificate.reload()
        if self._fast_path and counter % 10 == 0:
            for connection in list(self.server_state.connections):
                connection.close_if_late(time.monotonic())  # type: ignore[union-attr]
        if self._app.is_draining and (not self.server_state.connections or time.monotonic() > self._drained_at):
            self.should_exit = True
        return await super().on_tick(counter)

    def _drain(self) -> None:
        # The supervisor never sends anything: its line is readable only when it has died, and
        # a worker without a supervisor would keep the address from the next one.
        if self._app.is_draining:
            return
        self._app.is_draining = True
        self._drained_at = time.monotonic() + DRAIN_S
        for server in self.servers:
            server.close()
        if self._supervisor.socket is not None:
            self._loop.remove_reader(self._supervisor.socket)
        self._supervisor.tell("draining")
