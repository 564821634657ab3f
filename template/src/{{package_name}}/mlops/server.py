"""The server of one model: an ASGI application, and `run`, which serves it."""

from __future__ import annotations

import sys
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .bundle import Bundle
from .endpoint import Predict, Served
from .errors import MlopsError
from .native import Assignment
from .openapi import document
from .predictions import PredictionLog
from .problems import MEDIA_TYPE, Problem
from .project import ServingPolicy
from .scoring import Scorer
from .telemetry import EXPOSITION_TYPE, Telemetry
from .worker import Link, Worker, listen

PAGE = Path(__file__).with_name("page.html")

#: The page needs nothing from anywhere else, and is held to that.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


class App:
    """The ASGI application. It is made from a loaded model, so whatever answers has been verified."""

    def __init__(self, predict: ASGIApp, pages: ASGIApp) -> None:
        self.is_draining = False
        self._predict = predict
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send predictions straight to their endpoint, everything else through the router."""
        if self.is_draining:
            send = partial(_send_and_close, send)
        if scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST":
            await self._predict(scope, receive, send)
        else:
            await self._pages(scope, receive, send)


async def _send_and_close(send: Send, message: Message) -> None:
    """Make the client open another connection next time, which the new version will answer."""
    if message["type"] == "http.response.start":
        kept = [(name, value) for name, value in message["headers"] if name != b"connection"]
        message = {**message, "headers": [*kept, (b"connection", b"close")]}
    await send(message)


def create_app(scorer: Scorer, served: Served, policy: ServingPolicy, log: PredictionLog | None) -> App:
    """Make the application that answers with this model; without a `log` nothing is recorded."""
    identity = {"name": scorer.facts.name, **msgspec.to_builtins(served)}
    telemetry = Telemetry(str(served.version or ""), log, {key: str(value or "") for key, value in identity.items()})
    predict = Predict(scorer, served, policy, log, telemetry)
    description = msgspec.json.encode(document(scorer, served, policy))

    async def live(_: Request) -> Response:
        return _json({"status": "live"})

    async def ready(_: Request) -> Response:
        if app.is_draining:
            raise HTTPException(503, "this server is going away; ask again")
        return _json({"status": "ready", "digest": served.digest})

    async def version(_: Request) -> Response:
        return _json(identity)

    async def metrics(_: Request) -> Response:
        return Response(telemetry.exposition(), headers={"content-type": EXPOSITION_TYPE})

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def page(_: Request) -> Response:
        return FileResponse(PAGE, headers=PAGE_HEADERS)

    pages = {"/": page, "/live": live, "/ready": ready, "/version": version}
    pages |= {"/metrics": metrics, "/openapi.json": openapi}
    routes = [Route("/predict", predict, methods=["POST"])]
    routes += [Route(path, endpoint, methods=["GET"]) for path, endpoint in pages.items()]
    router = Starlette(routes=routes, exception_handlers={HTTPException: _not_here, Exception: _our_fault})
    router.router.redirect_slashes = False
    app = App(predict, router)
    return app


def run(
    bundle: Path,
    *,
    state: Path,
    limits: ServingPolicy,
    digest: str | None = None,
    version: int | None = None,
    commit: str = "",
    environment: str = "local",
    source: str = "cache",
    host: str = "127.0.0.1",
    port: int = 8000,
    fd: int | None = None,
    link: int | None = None,
) -> None:
    """Serve a bundle until told to stop; refuses one that is not what `digest` promises.

    The supervisor hands over a listening socket as `fd` and, as `link`, a socket on which it
    hears how this server is doing. Without them the server listens for itself.
    """
    supervisor = Link(link)
    try:
        verified = Bundle(bundle).verify(digest)
        scorer = Scorer(verified)
        served = Served(environment, version, verified.digest, commit or verified.lineage.commit, source)
        log = PredictionLog(state, environment, version, verified.digest)
        app = create_app(scorer, served, limits, log)
        listener = listen(host, port, fd)
    except MlopsError as error:
        supervisor.tell("failed", error.problem, error.next_step)
        raise
    try:
        Worker(app, listener, supervisor).serve_until_told()
    finally:
        log.close()


def main() -> None:
    """Serve what a supervisor assigned; it starts this module as a program of its own."""
    task = msgspec.json.decode(sys.argv[1], type=Assignment)
    wish = task.run
    try:
        run(
            Path(wish.bundle),
            state=Path(task.state),
            limits=wish.limits,
            digest=wish.digest,
            version=wish.version,
            commit=wish.commit,
            environment=wish.environment,
            source=wish.source,
            host=wish.host,
            port=wish.port,
            fd=task.fd,
            link=task.link,
        )
    except MlopsError as error:
        sys.exit(str(error))


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _not_here(request: Request, error: Exception) -> Response:
    """Say in problem details what Starlette found: no such page, or not with this method."""
    if not isinstance(error, HTTPException):
        raise error
    details = {
        404: f"there is no {request.url.path} here; / lists what there is",
        405: f"{request.url.path} does not answer {request.method}",
    }
    return _problem(error.status_code, details.get(error.status_code, error.detail), error.headers)


async def _our_fault(_: Request, __: Exception) -> Response:
    """Tell the client nothing of our insides; the server's log has the traceback."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the fault is ours; it is in the server's log")


def _problem(status: int, detail: str, headers: Any = None) -> Response:
    return Response(Problem(status, detail).body(), status, headers, MEDIA_TYPE)


if __name__ == "__main__":
    main()
