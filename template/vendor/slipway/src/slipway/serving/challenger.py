"""The champion's side of a challenge: which requests a challenger gets, and how they reach it.

A canary's requests are passed on as they came, and its answers go back as they are. Where it does not
answer well or soon, the champion answers instead: a challenger can fail no request. A shadow's requests are
copied once they have been answered, wait in a queue that has an end, and are sent many at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from slipway.contract.problems import whole
from slipway.delivery.target import Traffic
from slipway.serving.asgi import IDENTITY
from slipway.serving.counts import count
from slipway.serving.metrics import Telemetry
from slipway.serving.protocols.base import Reply, Request

#: How long a canary may take, and how long it is left alone after it did not answer.
PATIENCE_S = 0.5
REST_S = 1.0
MAX_CONNECTIONS = 64

SHADOW_PATH = "/shadow"
SHADOW_PATIENCE_S = 30.0
#: Copies are gathered for a moment: scoring a hundred rows at once costs little more than scoring ten.
GATHER_S = 0.05
MAX_COPIES = 5_000
MAX_COPIED_BYTES = 32_000_000
BATCH_COPIES = 500
BATCH_BYTES = 4_000_000

_KEPT_HEADERS = (b"content-type", b"mlops-version")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Copy(NamedTuple):
    """A request on its way to a shadow, with the id of the answer that the client got."""

    id: str
    path: str
    body: bytes


def draw(value: bytes) -> float:
    """A number from 0 to below 1 that is the same for equal values, in every process and every version."""
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big") / 2**64


class ChallengerRouter:
    """Divides the traffic as `traffic.json` says, which may change at any time."""

    def __init__(self, path: Path | None, telemetry: Telemetry) -> None:
        self._path = path
        self._telemetry = telemetry
        self._seen: tuple[int, int] | None = None
        self._traffic: Traffic | None = None
        self._connections: Connections | None = None
        self._rests_until = 0.0
        self._copies: deque[Copy] = deque()
        self._copied_bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self.reload()

    def reload(self) -> None:
        """Take notice of another challenger, share or mode. Called several times a second."""
        if self._path is None:
            return
        try:
            facts = self._path.stat()
            seen = (facts.st_ino, facts.st_mtime_ns)
            if seen == self._seen:
                return
            traffic = msgspec.json.decode(self._path.read_bytes(), type=Traffic)
        except (OSError, msgspec.DecodeError):
            seen, traffic = None, None
        self._seen = seen
        if traffic is None or self._traffic is None or traffic.counts != self._traffic.counts:
            if self._connections:
                self._connections.close()
            self._connections = Connections(traffic.socket) if traffic else None
            self._rests_until = 0.0
        self._traffic = self._telemetry.traffic = traffic

    def forwards(self, request: Request) -> bool:
        """Whether the challenger shall answer this request."""
        traffic = self._traffic
        if traffic is None or traffic.mode != "canary" or request.is_explained:
            return False
        if request.version is not None:
            return request.version == traffic.version
        return draw(_sticky_part(request, traffic.key)) < traffic.share

    async def ask(self, request: Request) -> Reply | None:
        """The challenger's answer; `None` if the champion has to give its own."""
        connections, loop = self._connections, asyncio.get_running_loop()
        outcome, reply = "resting", None
        if connections and loop.time() >= self._rests_until:
            outcome, reply = await self._try(connections, request)
        if outcome in ("down", "slow"):
            self._rests_until = loop.time() + REST_S
        count(self._telemetry.counts.challenger, outcome)
        return reply

    async def _try(self, connections: Connections, request: Request) -> tuple[str, Reply | None]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                reply = await connections.post(request.path, request.body, request.identity)
        except TimeoutError:
            return "slow", None
        except (OSError, EOFError, ValueError):
            return "down", None
        # What it refuses the champion may accept: its contract may be another one.
        return ("answered", reply) if reply.status == 200 else ("refused", None)

    def copy(self, request: Request, answer_id: str) -> None:
        """Let a shadow score an answered request, later; dropped and counted when there are too many."""
        traffic = self._traffic
        if traffic is None or traffic.mode != "shadow" or request.is_explained:
            return
        if traffic.share < 1 and draw(_sticky_part(request, traffic.key)) >= traffic.share:
            return
        if len(self._copies) >= MAX_COPIES or self._copied_bytes + len(request.body) > MAX_COPIED_BYTES:
            count(self._telemetry.counts.copies, "dropped")
            return
        self._copies.append(Copy(answer_id.rpartition("-")[0], request.path, request.body))
        self._copied_bytes += len(request.body)
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send_copies())

    async def _send_copies(self) -> None:
        try:
            while self._copies:
                if len(self._copies) < BATCH_COPIES:
                    await asyncio.sleep(GATHER_S)
                batch = self._take_copies()
                outcome = "sent" if await self._send(batch) else "dropped"
                count(self._telemetry.counts.copies, outcome, len(batch))
        finally:
            self._sender = None

    def _take_copies(self) -> list[Copy]:
        batch: list[Copy] = []
        size = 0
        while self._copies and len(batch) < BATCH_COPIES and size < BATCH_BYTES:
            batch.append(self._copies.popleft())
            size += len(batch[-1].body)
        self._copied_bytes -= size
        return batch

    async def _send(self, batch: list[Copy]) -> bool:
        connections = self._connections
        if connections is None:
            return False
        try:
            async with asyncio.timeout(SHADOW_PATIENCE_S):
                reply = await connections.post(SHADOW_PATH, msgspec.msgpack.encode(batch))
        except (OSError, EOFError, ValueError):
            return False
        return reply.status == 200


def _sticky_part(request: Request, key: str | None) -> bytes:
    if key is None:
        return request.body
    return msgspec.json.encode(whole(request.protocol.value(request.body, key)))


class Connections:
    """Connections to a challenger, kept open; as many as there are requests at once."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._idle: list[Connection] = []
        self._open = 0

    async def post(self, path: str, body: bytes, identity: str = "") -> Reply:
        """Send a request and read its answer; raises `OSError` or `EOFError` when that does not work."""
        if self._open >= MAX_CONNECTIONS:
            raise ConnectionRefusedError("every connection is busy")
        self._open += 1
        try:
            reader, writer = self._idle_connection() or await asyncio.open_unix_connection(self._socket)
            try:
                reply = await _exchange(reader, writer, path, body, identity)
            except BaseException:
                writer.close()  # what is still to come on it would be taken for the next answer
                raise
            self._idle.append((reader, writer))
        finally:
            self._open -= 1
        return reply

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        while connection := self._idle_connection():
            connection[1].close()

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection[0].at_eof():  # the other side was started again meanwhile
                return connection
            connection[1].close()
        return None


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes, identity: str
) -> Reply:
    head = f"POST {path} HTTP/1.1\r\nhost: challenger\r\ncontent-type: application/json\r\n"
    head += f"{IDENTITY}: {identity}\r\n" if identity else ""
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    content = await reader.readexactly(int(dict(headers).get(b"content-length", b"?")))
    kept = [(name, value) for name, value in headers if name in _KEPT_HEADERS]
    return Reply(int(status.split()[1]), kept, content)
