"""How requests for predictions come in: as ASGI has it, and straight from the connection.

An ASGI server makes a task, a scope and two calls of `send` for each request, which cost as much as the model.
So the most frequent request, a plain `POST /predict`, is taken from uvicorn's parser when its body is complete, and
its answer is written in one piece. Everything out of the ordinary goes the ASGI way.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .endpoint import Endpoint
from .faces import Face, Headers, Reply, Request
from .problems import Problem

if TYPE_CHECKING:
    from .server import App

#: A request that has not arrived in full after this long is given up; so is a connection without one.
READ_S = 20

#: The number of a version has no more; converting longer texts is refused by Python itself.
MAX_DIGITS = 9

#: With one of these, a request is out of the ordinary: somebody else's address, or a client that waits for leave.
_EXTRAORDINARY = frozenset((b"x-forwarded-for", b"expect", b"mlops-version"))

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


async def read_request(endpoint: Endpoint, face: Face, scope: Scope, receive: Receive) -> Request:
    """Read a request to its end.

    Raises `Problem` for one that must not be read, and `ConnectionResetError` when it ends early.
    """
    require_json(scope["headers"])
    headers = dict(scope["headers"])
    if int(headers.get(b"content-length", b"0")) > endpoint.max_bytes:
        raise endpoint.too_large()
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message.get("body", b"")
        if len(body) > endpoint.max_bytes:
            raise endpoint.too_large()
        more = message.get("more_body", False)
    client = scope["client"][0] if scope["client"] else ""
    return Request(face, scope["path"], bytes(body), client, asked_version(headers))


def require_json(headers: Headers) -> None:
    """Refuse a body that is declared as something else."""
    # Browsers let any page send other types to this machine; JSON they ask about first.
    if any(name == b"content-type" and b"json" not in value.lower() for name, value in headers):
        raise Problem(415, "the body must be JSON: send the header Content-Type: application/json")


def asked_version(headers: dict[bytes, bytes]) -> int | None:
    """The one version that the client wants to hear, if it says so."""
    asked = headers.get(b"mlops-version")
    if asked is None:
        return None
    if not asked.isdigit() or len(asked) > MAX_DIGITS:
        raise Problem(400, f"the header mlops-version names no version: {asked[:60].decode('latin-1')}")
    return int(asked)


async def respond(send: Send, reply: Reply) -> None:
    """Write an answer the ASGI way."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def send_and_close(send: Send, message: Message) -> None:
    """Make the client open another connection next time, which the new version will answer."""
    if message["type"] == "http.response.start":
        kept = [(name, value) for name, value in message["headers"] if name != b"connection"]
        message = {**message, "headers": [*kept, (b"connection", b"close")]}
    await send(message)


class Wire(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._server: App = self.config.app  # type: ignore[assignment]
        self._endpoint = self._server.endpoint
        self._straight: RequestResponseCycle | None = None
        self._reads_since: float | None = monotonic()

    def close_if_late(self, now: float) -> None:
        """Give up on a client that takes too long to send its request."""
        if self._reads_since is not None and now - self._reads_since > READ_S:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        self._reads_since = monotonic()

    def on_body(self, body: bytes) -> None:
        """A part of a body is here."""
        super().on_body(body)
        if self.cycle is not self._straight or self.cycle.response_complete:
            return
        if len(self.cycle.body) > self._endpoint.max_bytes:
            self._refuse(self.cycle, self._endpoint.too_large())
        else:
            self.flow.resume_reading()  # an application would do that by reading

    def on_message_complete(self) -> None:
        """A request is here in full."""
        self._reads_since = None
        super().on_message_complete()
        if self.cycle is self._straight and not self.cycle.response_complete:
            self._take(self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not self._is_ordinary(cycle.scope):
            super()._start_asgi_task(cycle, app)
            return
        self._straight = cycle
        if not cycle.more_body:  # it had to wait for the one before it
            self._take(cycle)

    def _is_ordinary(self, scope: Any) -> bool:
        if scope["path"] != "/predict" or scope["method"] != "POST" or scope["query_string"] or self.flow.write_paused:
            return False
        return _EXTRAORDINARY.isdisjoint([name for name, _ in scope["headers"]])

    def _take(self, cycle: RequestResponseCycle) -> None:
        client = self.client[0] if self.client else ""
        try:
            require_json(cycle.scope["headers"])  # type: ignore[arg-type]
            if len(cycle.body) > self._endpoint.max_bytes:
                raise self._endpoint.too_large()
        except Problem as problem:
            self._refuse(cycle, problem)
            return
        request = Request(self._endpoint.predict, "/predict", bytes(cycle.body), client)
        self._endpoint.take(request, partial(self._write, cycle))

    def _refuse(self, cycle: RequestResponseCycle, problem: Problem) -> None:
        request = Request(self._endpoint.predict, "/predict", b"")
        self._write(cycle, self._endpoint.refuse(request, problem))

    def _write(self, cycle: RequestResponseCycle, reply: Reply) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        closes = not cycle.keep_alive or self._server.is_draining or (b"connection", b"close") in reply.headers
        lines = [b"%s: %s\r\n" % line for line in (*self.server_state.default_headers, *reply.headers)]
        if closes and (b"connection", b"close") not in reply.headers:
            lines.append(b"connection: close\r\n")
        head = b"%s%scontent-length: %d\r\n\r\n" % (_STATUS_LINES[reply.status], b"".join(lines), len(reply.body))
        self.transport.write(head + reply.body)
        cycle.response_started = cycle.response_complete = True
        if closes:
            self.transport.close()
        self.on_response_complete()
