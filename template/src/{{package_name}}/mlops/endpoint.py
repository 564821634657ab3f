"""`POST /predict`: from the bytes of a request to the bytes of its answer.

A bare ASGI application, because a framework's request and response objects would cost as much as the model.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.types import Message, Receive, Scope, Send

from ..contract import CONTRACT
from .predictions import PredictionLog
from .predictor import Made, Predictor
from .problems import MEDIA_TYPE, Problem, refusal
from .project import ServingPolicy
from .schema import Row
from .scoring import Scorer
from .telemetry import Telemetry

logger = logging.getLogger(__name__)

_MANY = re.compile(rb'\s*\{\s*"rows"\s*:')


@dataclass(frozen=True)
class Served:
    """The model behind the server. `source` is where its bundle came from: `registry` or `cache`."""

    environment: str
    version: int | None
    digest: str
    commit: str
    source: str


class Predict:
    """Reads a request, has it predicted, writes the answer; a fault in one never reaches the next."""

    def __init__(
        self, scorer: Scorer, served: Served, policy: ServingPolicy, log: PredictionLog | None, telemetry: Telemetry
    ) -> None:
        self._predictor = Predictor(scorer, log)
        self._policy = policy
        self._telemetry = telemetry
        self._limit = RateLimit(policy.requests_per_second)
        self._max_bytes = policy.max_body_kb * 1024
        self._one: msgspec.json.Decoder[Row] = msgspec.json.Decoder(CONTRACT.row)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_rows_type(CONTRACT.row, policy.max_rows))
        self._encode = msgspec.json.Encoder().encode
        self._name = scorer.facts.answer
        model = {"name": scorer.facts.name, "version": served.version, "digest": served.digest}
        self._model = msgspec.Raw(msgspec.json.encode(model))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = [(b"content-type", b"application/json")]
        status = 200
        try:
            self._limit.take(scope["client"][0] if scope["client"] else "")
            body = await self._body(scope, receive)
            answer = await self._answer(body)
        except Problem as problem:
            status, answer, headers = self._refuse(problem)
        except ConnectionResetError:
            return
        except Exception:
            logger.exception("a prediction was not answered")
            status, answer, headers = self._refuse(Problem(500, "the fault is ours; it is in the server's log"))
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _refuse(self, problem: Problem) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        self._telemetry.refused(problem.status, [error.field for error in problem.errors])
        headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        return problem.status, problem.body(), [(b"content-type", MEDIA_TYPE.encode()), *headers]

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._max_bytes:
                raise self._too_large()
            # Browsers let any page send other types to this machine; JSON they ask about first.
            if name == b"content-type" and b"json" not in value.lower():
                raise Problem(415, "the body must be JSON: send the header Content-Type: application/json")
        message = await receive()
        if not message.get("more_body") and message["type"] == "http.request":
            whole: bytes = message.get("body", b"")
            if len(whole) > self._max_bytes:
                raise self._too_large()
            return whole
        return await self._rest(message, receive)

    async def _rest(self, message: Message, receive: Receive) -> bytes:
        body = bytearray(message.get("body", b""))
        while message.get("more_body"):
            if len(body) > self._max_bytes:
                raise self._too_large()
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        if len(body) > self._max_bytes:
            raise self._too_large()
        return bytes(body)

    def _too_large(self) -> Problem:
        # The rest of the body is not read, so the connection cannot be used again.
        return Problem(413, f"the body is larger than {self._policy.max_body_kb} kB", headers={"connection": "close"})

    async def _answer(self, body: bytes) -> bytes:
        start = perf_counter()
        answer: dict[str, Any]
        try:
            if _MANY.match(body):
                rows: Sequence[Row] = self._many.decode(body).rows
                answer = {"predictions": [self._shown(made) for made in self._predictor.many(rows)]}
            else:
                rows = (self._one.decode(body),)
                answer = self._shown(await self._predictor.one(rows[0]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise refusal(body, CONTRACT, error, self._policy.max_rows) from None
        answer["model"] = self._model
        encoded = self._encode(answer)
        self._telemetry.answered(len(rows), perf_counter() - start)
        return encoded

    def _shown(self, made: Made) -> dict[str, Any]:
        if self._policy.return_score:
            return {"id": made.id, self._name: made.answer, "score": made.score}
        return {"id": made.id, self._name: made.answer}


class RateLimit:
    """Lets each client send `per_second` requests a second, with a second's worth at once.

    A client is remembered as one number, the time at which its bucket is full again, and
    only until then.
    """

    MAX_CLIENTS = 10_000

    def __init__(self, per_second: int) -> None:
        self._interval = 1 / per_second
        self._full_at: dict[str, float] = {}

    def take(self, client: str) -> None:
        """Let one request through, or refuse it with the time to wait."""
        now = monotonic()
        full_at = max(self._full_at.get(client, 0.0), now) + self._interval
        if full_at - now > 1 + self._interval / 2:
            raise Problem(429, "too many requests from this address", headers={"retry-after": "1"})
        self._full_at[client] = full_at
        if len(self._full_at) > self.MAX_CLIENTS:
            self._forget(now)

    def _forget(self, now: float) -> None:
        self._full_at = {client: at for client, at in self._full_at.items() if at > now}
        if len(self._full_at) > self.MAX_CLIENTS:  # a flood from many addresses: start over rather than grow
            self._full_at.clear()


def _rows_type(row: type[Row], max_rows: int) -> type[msgspec.Struct]:
    rows = Annotated[list[row], Meta(min_length=1, max_length=max_rows)]  # type: ignore[valid-type]
    return msgspec.defstruct("Rows", [("rows", rows)], forbid_unknown_fields=True)
