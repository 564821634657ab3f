"""A way to a server on this machine that can be shut, as when a network is down."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Door(socketserver.ThreadingTCPServer):
    """Passes bytes on while it is open; who comes to a shut door is let go at once, and counted in `refused`."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.is_open = True
        self.refused = 0
        super().__init__(("127.0.0.1", 0), _Passing)

    @property
    def address(self) -> str:
        """Where to knock."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(socketserver.BaseRequestHandler):
    server: Door
    request: socket.socket

    def handle(self) -> None:
        if not self.server.is_open:
            self.server.refused += 1
            return
        with socket.create_connection(("127.0.0.1", self.server.behind)) as other:
            to = {self.request: other, other: self.request}
            while self.server.is_open:
                for ready in select.select([*to], [], [], 0.05)[0]:
                    said = ready.recv(65_536)
                    if not said:
                        return
                    to[ready].sendall(said)


@contextmanager
def door(behind: int) -> Iterator[Door]:
    """An open door to a port."""
    with Door(behind) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.is_open = False
        made.shutdown()
