"""The fast path: requests for predictions straight from the connection, past ASGI.

An ASGI server makes a task, a scope and two calls of `send` for each request, which cost as much as the model.
So the most frequent request, a plain `POST /predict`, is taken from uvicorn's parser when its body is complete, and
its answer is written in one piece. Everything out of the ordinary goes the ASGI way.

This needs names of uvicorn that it does not promise. `worker.py` imports this module only for a version of uvicorn
with which it was tried, and does without it otherwise.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from slipway.contract.problems import Problem
from slipway.serving.app import App
from slipway.serving.asgi import IDENTITY, PROBE, READ_S, require_json, too_large
from slipway.serving.forms import is_form
from slipway.serving.protocols.base import Reply, Request

#: With one of these, a request is out of the ordinary: somebody else's address or name, a client that waits for leave,
#: a deployment's own question, or a browser, which may have to be told that it may read the answer.
_EXTRAORDINARY = frozenset((b"x-forwarded-for", b"expect", b"mlops-version", IDENTITY.encode(), PROBE, b"origin"))

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Wire(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._server: App = self.config.app  # type: ignore[assignment]
        self._endpoint = self._server.endpoint
        self._guard = self._server.guard
        self._headers: dict[bytes, bytes] = {}
        self._identity = ""
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
            self._refuse(self.cycle, too_large(self._endpoint.max_bytes))
        else:
            self.flow.resume_reading()  # an application would do that by reading

    def on_message_complete(self) -> None:
        """A request is here in full."""
        self._reads_since = None
        super().on_message_complete()
        if self.cycle is self._straight and not self.cycle.response_complete:
            self._take(self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Whoever is not known at once is asked, or refused, the ordinary way.
        if not (self._is_ordinary(cycle.scope) and self._is_known()):
            super()._start_asgi_task(cycle, app)
            return
        self._straight = cycle
        if not cycle.more_body:  # it had to wait for the one before it
            self._take(cycle)

    def _is_ordinary(self, scope: Any) -> bool:
        if scope["path"] != "/predict" or scope["method"] != "POST" or scope["query_string"] or self.flow.write_paused:
            return False
        self._headers = dict(scope["headers"])
        # A header that stands there twice is nothing that this path has to understand.
        if len(self._headers) != len(scope["headers"]) or is_form(self._headers.get(b"content-type", b"")):
            return False
        return _EXTRAORDINARY.isdisjoint(self._headers)

    def _is_known(self) -> bool:
        if self._guard is None:
            return True
        identity = self._guard.identity_of(self._headers.get(b"authorization", b""))
        self._identity = identity or ""
        return identity is not None

    def _take(self, cycle: RequestResponseCycle) -> None:
        client = self.client[0] if self.client else ""
        try:
            if self._headers.get(b"content-type") != b"application/json" or b"content-encoding" in self._headers:
                require_json([*self._headers.items()])
            if len(cycle.body) > self._endpoint.max_bytes:
                raise too_large(self._endpoint.max_bytes)
        except Problem as problem:
            self._refuse(cycle, problem)
            return
        request = Request(
            self._endpoint.protocols.predict, "/predict", bytes(cycle.body), client, identity=self._identity
        )
        self._endpoint.take(request, partial(self._write, cycle))

    def _refuse(self, cycle: RequestResponseCycle, problem: Problem) -> None:
        request = Request(self._endpoint.protocols.predict, "/predict", b"")
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
