"""The server of one model: an ASGI application, and `run`, which serves it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import privacy
from .bundle import Bundle
from .endpoint import Endpoint, Served
from .errors import MlopsError
from .faces import Face, Request
from .front import SHADOW_PATH, Front
from .inference import server_facts
from .openapi import document
from .predictions import PredictionLog
from .problems import MEDIA_TYPE, Problem
from .project import Hidden, ServingPolicy
from .refusals import RefusalLog
from .scoring import Scorer
from .target import Assignment
from .telemetry import EXPOSITION_TYPE, Telemetry
from .wire import MAX_DIGITS, read_request, respond, send_and_close
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

    def __init__(
        self, endpoint: Endpoint, telemetry: Telemetry, front: Front, refusals: RefusalLog | None = None
    ) -> None:
        self.is_draining = False
        self.endpoint = endpoint
        self.pages: ASGIApp
        self.telemetry = telemetry
        self._front = front
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer through the router; what is asked most comes in past it, see `wire.py`."""
        if self.is_draining:
            send = partial(send_and_close, send)
        await self.pages(scope, receive, send)

    def tick(self) -> None:
        """Look around, ten times a second: has the traffic changed, what shall others know?"""
        self._front.look()
        self.telemetry.publish()
        if self._refusals is not None:
            self._refusals.flush(monotonic())


class Asked:
    """The ASGI application behind a path at which predictions are asked for."""

    def __init__(self, endpoint: Endpoint, face: Face, model: str) -> None:
        self._endpoint = endpoint
        self._face = face
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a request, have it answered, write the answer."""
        request = Request(self._face, scope["path"], b"")
        try:
            read = await read_request(self._endpoint, self._face, scope, receive)
            request = read._replace(**self._wishes(scope))
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


def create_app(
    scorer: Scorer,
    served: Served,
    policy: ServingPolicy,
    log: PredictionLog | None,
    *,
    traffic: Path | None = None,
    counts: Path | None = None,
    workers: int = 1,
    refusals: RefusalLog | None = None,
) -> App:
    """Make the application that answers with this model; without a `log` no answer is recorded, nor is a refusal.

    `traffic` is the file that names a challenger, `counts` the folder in which `workers` processes share their counts.
    """
    identity = {"name": scorer.facts.name, **msgspec.to_builtins(served)}
    about = {key: str(value or "") for key, value in identity.items()}
    version, room = str(served.version or ""), policy.max_in_progress
    telemetry = Telemetry(version, scorer.bundle, log, about, room, counts, workers)
    front = Front(traffic, telemetry)
    endpoint = Endpoint(scorer, served, policy, log, telemetry, front, refusals)
    app = App(endpoint, telemetry, front, refusals)
    pages = {**_pages(app, telemetry, identity), **_pages_of_protocols(app, endpoint, identity)}
    description = msgspec.json.encode(document(scorer, served, policy))
    pages["/openapi.json"] = lambda: Response(description, media_type="application/json")
    routes = [Route(path, _page(answer), methods=["GET"]) for path, answer in pages.items()]
    faces: dict[str, Face] = {
        "/predict": endpoint.predict,
        "/invocations": endpoint.invocations,
        "/v2/models/{name}/infer": endpoint.inference,
        "/v2/models/{name}/versions/{version}/infer": endpoint.inference,
    }
    routes += [Route(path, Asked(endpoint, face, scorer.facts.name), methods=["POST"]) for path, face in faces.items()]
    if served.role == "challenger":
        routes.append(Route(SHADOW_PATH, partial(_copies, endpoint), methods=["POST"]))
    router = Starlette(routes=routes, exception_handlers={HTTPException: _not_here, Exception: _our_fault})
    router.router.redirect_slashes = False
    app.pages = router
    return app


def _pages(app: App, telemetry: Telemetry, identity: dict[str, Any]) -> dict[str, Callable[..., Response]]:
    def ready() -> Response:
        if app.is_draining:
            raise HTTPException(503, "this server is going away; ask again")
        return _json({"status": "ready", "digest": identity["digest"]})

    return {
        "/": lambda: FileResponse(PAGE, headers=PAGE_HEADERS),
        "/live": lambda: _json({"status": "live"}),
        "/ready": ready,
        "/ping": ready,
        "/version": lambda: _json(identity),
        "/metrics": lambda: Response(telemetry.exposition(), headers={"content-type": EXPOSITION_TYPE}),
    }


def _pages_of_protocols(app: App, endpoint: Endpoint, identity: dict[str, Any]) -> dict[str, Callable[..., Response]]:
    """The pages of the Open Inference Protocol."""
    mine, facts = str(endpoint.version or ""), endpoint.inference.facts()

    def require_mine(name: str, version: str) -> None:
        if (name, version) != (identity["name"], mine):
            raise HTTPException(404, f"there is no version {version} of {name} here, but {mine} of {identity['name']}")

    def model(name: str, version: str = mine) -> Response:
        require_mine(name, version)
        return _json(facts)

    def model_ready(name: str, version: str = mine) -> Response:
        require_mine(name, version)
        return _json({"name": name, "ready": not app.is_draining}, 503 if app.is_draining else 200)

    return {
        "/v2": lambda: _json(server_facts(identity["name"], mine)),
        "/v2/health/live": lambda: _json({"live": True}),
        "/v2/health/ready": lambda: _json({"ready": not app.is_draining}, 503 if app.is_draining else 200),
        "/v2/models/{name}": model,
        "/v2/models/{name}/ready": model_ready,
        "/v2/models/{name}/versions/{version}": model,
        "/v2/models/{name}/versions/{version}/ready": model_ready,
    }


def _page(answer: Callable[..., Response]) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def page(request: HttpRequest) -> Response:
        return answer(**request.path_params)

    return page


async def _copies(endpoint: Endpoint, request: HttpRequest) -> Response:
    reply = await endpoint.score_copies(await request.body())
    return Response(reply.body, reply.status)


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
    hidden: Mapping[str, Hidden] | None = None,
    assigned: Assignment | None = None,
) -> None:
    """Serve a bundle until told to stop; refuses one that is not what `digest` promises.

    The columns in `hidden` are not logged as they are.

    A supervisor hands over, in what it `assigned`, a listening socket and another one on which it
    hears how this server is doing. Without them the server listens for itself.
    """
    supervisor = Link(assigned.link if assigned else None)
    role = assigned.run.role if assigned else "champion"
    try:
        verified = Bundle(bundle).verify(digest)
        scorer = Scorer(verified)
        served = Served(environment, version, verified.digest, commit or verified.lineage.commit, source, role)
        log = PredictionLog(
            state, environment, version, verified.digest, privacy.mask(state, environment, hidden or {})
        )
        refusals = RefusalLog(state, environment, hidden=hidden or {})
        app = create_app(scorer, served, limits, log, refusals=refusals, **_shared(assigned))
        listener = listen(host, port, assigned.fd if assigned else None)
    except MlopsError as error:
        supervisor.tell("failed", error.problem, error.next_step)
        raise
    try:
        Worker(app, listener, supervisor).serve_until_told()
    finally:
        log.close()
        refusals.close()
        app.tick()


def _shared(assigned: Assignment | None) -> dict[str, Any]:
    """What the processes of one environment share."""
    if assigned is None:
        return {}
    traffic, counts = (Path(name) if name else None for name in (assigned.traffic, assigned.counts))
    return {"traffic": traffic, "counts": counts, "workers": assigned.run.workers}


def main() -> None:
    """Serve what a supervisor assigned; it starts this module as a program of its own."""
    task = msgspec.json.decode(sys.argv[1], type=Assignment)
    wish = task.run
    try:
        run(
            Path(wish.bundle),
            state=Path(task.state),
            limits=task.limits or wish.limits,
            digest=wish.digest,
            version=wish.version,
            commit=wish.commit,
            environment=wish.environment,
            source=wish.source,
            host=wish.host,
            port=wish.port,
            hidden=wish.privacy,
            assigned=task,
        )
    except MlopsError as error:
        sys.exit(str(error))


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
        405: f"{request.url.path} does not answer {request.method}",
    }
    return _problem(error.status_code, details.get(error.status_code, error.detail), error.headers)


async def _our_fault(_: HttpRequest, __: Exception) -> Response:
    """Tell the client nothing of our insides; the server's log has the traceback."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the fault is ours; it is in the server's log")


def _problem(status: int, detail: str, headers: Any = None) -> Response:
    return Response(Problem(status, detail).body(), status, headers, MEDIA_TYPE)


if __name__ == "__main__":
    main()
