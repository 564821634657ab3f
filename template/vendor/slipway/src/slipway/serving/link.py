"""What a server process tells its supervisor, and the line on which it does."""

from __future__ import annotations

import socket
from typing import Literal

import msgspec

from slipway.delivery.target import Message

#: It answers; it is still there; it takes no more connections; it cannot start.
Event = Literal["ready", "alive", "draining", "failed"]


class Link:
    """A server's line to its supervisor; without a supervisor it leads nowhere."""

    def __init__(self, fd: int | None) -> None:
        self.socket = None if fd is None else socket.socket(fileno=fd)

    def tell(self, event: Event, problem: str = "", next_step: str = "") -> None:
        """Send one message. A supervisor that is gone is noticed elsewhere."""
        if self.socket is None:
            return
        try:
            self.socket.sendall(msgspec.json.encode(Message(event, problem, next_step)) + b"\n")
        except OSError:
            return
