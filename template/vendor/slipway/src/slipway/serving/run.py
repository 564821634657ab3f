"""Serving a bundle until told to stop: the program that a supervisor starts, and what `mlops serve` runs.

What needs the team's package is imported inside functions, so that a package that lacks something can be told.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from slipway.base.buckets import is_bucket, require_library
from slipway.base.errors import MlopsError
from slipway.delivery.target import Assignment
from slipway.log.posted import LabelForm
from slipway.serving.link import Link
from slipway.settings.access import Tls
from slipway.settings.policy import Hidden, ServingPolicy
from slipway.training.bundle import Bundle

if TYPE_CHECKING:
    from slipway.serving.context import ServingContext


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What one server process serves, and where.

    The bundle is refused when it is not what `digest` promises. The columns in `hidden` are not logged as they are.
    `state` is the folder for local state. A supervisor hands over a listening socket, `fd`, and another one, `link`,
    on which it hears how this server is doing; without them the server listens for itself. `traffic`, `counts` and
    `workers` are as in `Context`. With `admitted`, only those may ask whom this file names. With
    `labels` it is told, in this form, what happened. Where the log is in a bucket, `is_uploaded_elsewhere` says that no
    process with this Python has to reach it.
    """

    bundle: Path
    state: Path
    limits: ServingPolicy
    digest: str | None = None
    version: int | None = None
    commit: str = ""
    environment: str = "local"
    source: str = "cache"
    host: str = "127.0.0.1"
    port: int = 8000
    hidden: Mapping[str, Hidden] = field(default_factory=dict)
    role: Literal["champion", "challenger"] = "champion"
    fd: int | None = None
    link: int | None = None
    traffic: Path | None = None
    counts: Path | None = None
    workers: int = 1
    admitted: Path | None = None
    labels: LabelForm | None = None
    tls: Tls | None = None
    proxies: Sequence[str] = ()
    is_uploaded_elsewhere: bool = False

    @classmethod
    def assigned(cls, task: Assignment) -> ServerSettings:
        """What a supervisor asks for."""
        run = task.run
        return cls(
            bundle=Path(run.bundle),
            state=Path(task.state),
            limits=task.limits or run.limits,
            digest=run.digest,
            version=run.version,
            commit=run.commit,
            environment=run.environment,
            source=run.source,
            host=run.host,
            port=run.port,
            hidden=run.privacy,
            role=run.role,
            fd=task.fd,
            link=task.link,
            traffic=Path(task.traffic) if task.traffic else None,
            counts=Path(task.counts) if task.counts else None,
            workers=run.workers,
            admitted=Path(task.admitted) if task.admitted else None,
            labels=run.labels,
            tls=run.tls,
            proxies=run.proxies,
            # What a container cannot upload its machine does; one that can sees to it itself.
            is_uploaded_elsewhere=bool(run.image),
        )


def run(settings: ServerSettings) -> None:
    """Serve until told to stop; raises `MlopsError`, and tells a supervisor, when that cannot begin."""
    supervisor = Link(settings.link)
    try:
        from slipway.serving.app import create_app
        from slipway.serving.tls import Certificate
        from slipway.serving.worker import Worker, listen

        context = _context(settings)
        app = create_app(context)
        certificate = Certificate(settings.tls) if settings.tls else None
        listener = listen(settings.host, settings.port, settings.fd)
    except MlopsError as error:
        supervisor.tell("failed", error.problem, error.next_step)
        raise
    try:
        Worker(
            app,
            listener,
            supervisor,
            wants_fast_path=settings.limits.fast_path,
            certificate=certificate,
            proxies=settings.proxies,
        ).serve_until_told()
    finally:
        for log in (context.log, context.refusals, context.labels):
            if log is not None:
                log.close()
        app.tick()


def _context(settings: ServerSettings) -> ServingContext:
    from slipway.log import masks
    from slipway.log.posted import LabelLog
    from slipway.log.predictions import PredictionLog
    from slipway.log.refusals import RefusalLog
    from slipway.serving.context import Served, ServingContext
    from slipway.serving.guard import Guard
    from slipway.training.scoring import Scorer

    if is_bucket(settings.limits.log) and not settings.is_uploaded_elsewhere:
        require_library(settings.limits.log)
    bundle = Bundle(settings.bundle).verify(settings.digest)
    state, environment, hidden, limits = settings.state, settings.environment, settings.hidden, settings.limits
    commit = settings.commit or bundle.lineage.commit
    mask = masks.mask(state, environment, hidden)
    guard = Guard(settings.admitted, masks.mark_of(state, environment)) if settings.admitted else None
    return ServingContext(
        scorer=Scorer(bundle),
        served=Served(environment, settings.version, bundle.digest, commit, settings.source, settings.role),
        policy=limits,
        log=PredictionLog(state, environment, settings.version, bundle.digest, mask, limits.log, limits.log_share),
        refusals=RefusalLog(state, environment, hidden=hidden, address=limits.log),
        traffic=settings.traffic,
        counts=settings.counts,
        workers=settings.workers,
        guard=guard,
        labels=LabelLog(state, environment, settings.labels, mask, limits.log) if settings.labels else None,
    )


def main() -> None:
    """Serve what a supervisor assigned; it starts this module as a program of its own."""
    try:
        run(ServerSettings.assigned(msgspec.json.decode(sys.argv[1], type=Assignment)))
    except MlopsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
