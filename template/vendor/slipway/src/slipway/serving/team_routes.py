"""Endpoints of the team: `routes` in the team's package, in `routes.py`, which need not be there.

    def routes(model):
        return {"GET /fares": fares, "POST /quote": quote}

A handler of GET gets the query as a `dict` of texts, one of POST the JSON of the body; what it returns is answered as
JSON, and a `ValueError` as 422 with its text. `model` is a `ServedModel`. Handlers run in threads, so that a slow one
delays no prediction. They are no predictions: nothing of them is logged or counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from slipway import team
from slipway.base.errors import MlopsError
from slipway.contract.problems import MEDIA_TYPE, Problem
from slipway.serving.asgi import read_body, respond
from slipway.serving.protocols.base import Reply, ServedModel

#: What the module is called in messages.
MODULE = "routes.py"


class TeamRoute:
    """One endpoint of the team, as an ASGI application."""

    def __init__(self, named: str, handler: Callable[[Any], Any], max_bytes: int) -> None:
        """`named` is method and path; raises `MlopsError` for anything but a GET or POST of a plain path."""
        self.method, _, self.path = named.partition(" ")
        if self.method not in ("GET", "POST") or not self.path.startswith("/") or set(self.path) & set("{} ?#"):
            raise MlopsError(
                f"{MODULE}: {named!r} is no endpoint", 'name method and path, like "GET /fares" or "POST /quote"'
            )
        self.handler = handler
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            content = await self._content(scope, receive)
            reply = _json(200, await asyncio.to_thread(self.handler, content))
        except ConnectionResetError:
            return
        except Problem as problem:
            reply = _refused(problem)
        except ValueError as error:
            reply = _refused(Problem(422, str(error)))
        await respond(send, reply)

    async def _content(self, scope: Scope, receive: Receive) -> Any:
        if self.method == "GET":
            return dict(parse_qsl(scope["query_string"].decode("latin-1")))
        body = await read_body(self._max_bytes, scope, receive)
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f"the body is not JSON: {error}") from None


def load(model: ServedModel, max_bytes: int) -> list[TeamRoute]:
    """The endpoints that the team's package names; none where it has no `routes.py`. Bodies are at most `max_bytes`."""
    routes = team.routes()
    return [TeamRoute(named, handler, max_bytes) for named, handler in routes(model).items()] if routes else []


def require_free(routes: Iterable[TeamRoute], taken: Sequence[str]) -> None:
    """Refuse an endpoint of the team at a path that the platform answers."""
    if clash := [route.path for route in routes if route.path in taken]:
        raise MlopsError(f"{MODULE}: {clash[0]} is answered by the platform", "choose another path")


def describe(routes: Iterable[TeamRoute]) -> dict[str, Any]:
    """Their part of the OpenAPI document: a handler's docstring says what it is for."""
    paths: dict[str, Any] = {}
    for route in routes:
        summary = (route.handler.__doc__ or route.path).strip().splitlines()[0]
        answers = {"200": {"description": "JSON."}, "422": {"description": "Refused; the answer says why."}}
        paths.setdefault(route.path, {})[route.method.lower()] = {"summary": summary, "responses": answers}
    return {"paths": paths}


def _json(status: int, content: Any) -> Reply:
    return Reply(status, [(b"content-type", b"application/json")], msgspec.json.encode(content))


def _refused(problem: Problem) -> Reply:
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    return Reply(problem.status, [(b"content-type", MEDIA_TYPE.encode()), *headers], problem.body())
