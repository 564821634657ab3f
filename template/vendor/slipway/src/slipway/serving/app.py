"""The ASGI application that answers with one model: predictions, pages, and what the team adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.contract.problems import MEDIA_TYPE, Problem
from slipway.serving import team_routes
from slipway.serving.asgi import MAX_DIGITS, read_body, request_of, respond, send_and_close
from slipway.serving.challenger import SHADOW_PATH, ChallengerRouter
from slipway.serving.context import ServingContext
from slipway.serving.endpoint import Endpoint
from slipway.serving.forms import Forms
from slipway.serving.guard import Guarded, introduced
from slipway.serving.label_route import OUTCOMES, PATH, LabelRoute, refusal
from slipway.serving.metrics import EXPOSITION_TYPE, Telemetry
from slipway.serving.openapi import document
from slipway.serving.protocols import Protocols
from slipway.serving.protocols.base import Page, Reply, Request, WireProtocol
from slipway.team import CONTRACT

PAGE = Path(__file__).with_name("page.html")

_BROWSERS = "; serving.origins in policy.yaml says whose pages may ask from a browser"

#: The page needs nothing from anywhere else, and is held to that.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


class App:
    """The ASGI application. It is made from a loaded model, so whatever answers has been verified."""

    def __init__(
        self, endpoint: Endpoint, telemetry: Telemetry, challenger: ChallengerRouter, context: ServingContext
    ) -> None:
        self.is_draining = False
        self.endpoint = endpoint
        self.guard = context.guard
        self.pages: ASGIApp
        self.telemetry = telemetry
        self._challenger = challenger
        self._refusals = context.refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer through the router; what is asked most comes in past it, see `fastpath.py`."""
        if self.is_draining:
            send = partial(send_and_close, send)
        await self.pages(scope, receive, send)

    def tick(self) -> None:
        """Look around, ten times a second: has the traffic changed, what shall others know?"""
        self._challenger.reload()
        if self.guard is not None:
            self.guard.tick()
        self.telemetry.publish()
        if self._refusals is not None:
            self._refusals.flush(monotonic())


class PredictionRoute:
    """The ASGI application behind a path at which predictions are asked for."""

    def __init__(self, endpoint: Endpoint, protocol: WireProtocol, model: str, forms: Forms | None = None) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._model = model
        self._forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a request, have it answered, write the answer."""
        request = Request(self._protocol, scope["path"], b"")
        try:
            is_form = self._forms is not None and self._forms.is_sent(scope["headers"])
            read = self._forms.read if self._forms and is_form else read_body
            body = await read(self._endpoint.max_bytes, scope, receive)
            request = request_of(self._protocol, body, scope)._replace(**self._wishes(scope))
        except ConnectionResetError:
            return
        except Problem as problem:
            await respond(send, self._endpoint.refuse(request, problem))
            return
        await respond(send, await self._endpoint.answer(request))

    def _wishes(self, scope: Scope) -> dict[str, Any]:
        """What the address says: an explanation is wanted, or one version of one model."""
        named = scope.get("path_params", {})
        if named.get("name", self._model) != self._model:
            raise Problem(404, f"there is no model {named['name']} here; this is {self._model}")
        version = named.get("version", "")
        if version and not (version.isdecimal() and len(version) <= MAX_DIGITS):
            raise Problem(404, f"there is no version {version[:60]} here")
        wishes: dict[str, Any] = {"is_explained": b"explain=true" in scope["query_string"].split(b"&")}
        return wishes | ({"version": int(version)} if version else {})


def create_app(context: ServingContext) -> App:
    """Make the application; raises `MlopsError` for a policy or an extension that does not fit."""
    telemetry = Telemetry(context)
    challenger = ChallengerRouter(context.traffic, telemetry)
    protocols = Protocols(context.model, context.policy.protocols)
    endpoint = Endpoint(context, protocols, telemetry, challenger)
    app = App(endpoint, telemetry, challenger, context)
    model = context.model
    team = team_routes.load(model, endpoint.max_bytes)
    forms = Forms(CONTRACT, context.policy.origins) if CONTRACT.pictures else None
    pages = _pages(app, context)
    for protocol in protocols:
        pages |= {path: partial(_content, page) for path, page in protocol.pages(lambda: not app.is_draining).items()}
    labels = _labels(context, endpoint, telemetry)
    team_routes.require_free(team, [*pages, *protocols.routes, *labels, SHADOW_PATH])
    paths = [*protocols.routes, *pages, *labels, *(route.path for route in team)]
    parts = [one.describe() for one in (*protocols, *labels.values(), *([forms] if forms else []))]
    described = document(model, paths, [*parts, team_routes.describe(team)])
    pages["/openapi.json"] = partial(Response, msgspec.json.encode(described), media_type="application/json")
    routes = [Route(path, _page(answer), methods=["GET"]) for path, answer in pages.items()]
    for path, protocol in protocols.routes.items():
        taken = forms if protocol is protocols.predict else None
        routes.append(Route(path, PredictionRoute(endpoint, protocol, model.name, taken), methods=["POST"]))
    routes += [Route(path, route, methods=["POST"]) for path, route in labels.items()]
    routes += [Route(route.path, route, methods=[route.method]) for route in team]
    if context.served.role == "challenger":
        routes.append(Route(SHADOW_PATH, partial(_copies, endpoint), methods=["POST"]))
    router = Starlette(
        routes=routes, exception_handlers={HTTPException: _not_here, Problem: _refused, Exception: _our_fault}
    )
    router.router.redirect_slashes = False
    inside: ASGIApp = introduced(router) if context.served.role == "challenger" else router
    if context.guard is not None:
        inside = Guarded(inside, context.guard, partial(_denied, endpoint, labels))
    app.pages = _for_browsers(inside, context) if context.policy.origins else inside
    return app


def _labels(context: ServingContext, endpoint: Endpoint, telemetry: Telemetry) -> dict[str, LabelRoute]:
    """Where labels can be posted, if they can."""
    if context.labels is None:
        return {}
    counts = telemetry.counts.labels = dict.fromkeys(OUTCOMES, 0)
    return {PATH: LabelRoute(context.labels, endpoint.limit, context.policy.max_rows, endpoint.max_bytes, counts)}


def _denied(endpoint: Endpoint, labels: Mapping[str, LabelRoute], path: str, problem: Problem) -> Reply:
    """What somebody gets who may not ask, in the form of the protocol that was asked."""
    if path in labels:
        return labels[path].refuse(problem)
    try:
        protocol = endpoint.protocols.at(path)
    except Problem:
        return refusal(problem)
    return endpoint.refuse(Request(protocol, path, b""), problem)


def _for_browsers(router: ASGIApp, context: ServingContext) -> ASGIApp:
    """Let pages of these origins ask and read the answers; without this a browser lets none."""
    return CORSMiddleware(
        router,
        allow_origins=context.policy.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["content-type", "mlops-version", *(["authorization"] if context.guard else [])],
        expose_headers=["mlops-version"],
    )


def _pages(app: App, context: ServingContext) -> dict[str, Callable[..., Response]]:
    """The pages of every server. `/openapi.json` is made last, because it describes them all."""

    def ready() -> Response:
        if app.is_draining:
            raise Problem(503, "this server is going away; ask again")
        return _json({"status": "ready", "digest": context.served.digest})

    return {
        "/": lambda: FileResponse(PAGE, headers=PAGE_HEADERS),
        "/live": lambda: _json({"status": "live"}),
        "/ready": ready,
        "/version": lambda: _json(context.identity),
        "/metrics": lambda: Response(app.telemetry.exposition(), headers={"content-type": EXPOSITION_TYPE}),
        "/openapi.json": Response,
    }


def _content(page: Page, **parts: str) -> Response:
    status, content = page(**parts)
    return _json(content, status)


def _page(answer: Callable[..., Response]) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def page(request: HttpRequest) -> Response:
        return answer(**request.path_params)

    return page


async def _copies(endpoint: Endpoint, request: HttpRequest) -> Response:
    reply = await endpoint.score_copies(await request.body())
    return Response(reply.body, reply.status)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _not_here(request: HttpRequest, error: Exception) -> Response:
    """Say in problem details what Starlette found: no such page, or not with this method."""
    if not isinstance(error, HTTPException):
        raise error
    details = {
        404: error.detail
        if error.detail != "Not Found"
        else f"there is no {request.url.path} here; / lists what there is",
        405: f"{request.url.path} does not answer {request.method}{_BROWSERS if request.method == 'OPTIONS' else ''}",
    }
    return _problem(error.status_code, details.get(error.status_code, error.detail), error.headers)


async def _refused(_: HttpRequest, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    return _problem(error.status, error.detail, error.headers)


async def _our_fault(_: HttpRequest, __: Exception) -> Response:
    """Tell the client nothing of our insides; the server's log has the traceback."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the fault is ours; it is in the server's log")


def _problem(status: int, detail: str, headers: Any = None) -> Response:
    return Response(Problem(status, detail).body(), status, headers, MEDIA_TYPE)
