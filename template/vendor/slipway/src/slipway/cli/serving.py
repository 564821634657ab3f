"""Commands that answer with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli.common import EnvironmentName, say
from slipway.settings.project import Project


def serve(
    version: Annotated[str, typer.Option(help="A version number or an alias.")] = "latest",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    anyone: Annotated[
        bool, typer.Option("--anyone", help="Answer whoever reaches an address beyond this machine.")
    ] = False,
) -> None:
    """Answer prediction requests over HTTP, in the foreground."""
    from slipway.delivery import uploads
    from slipway.log import masks
    from slipway.registry.models import Registry
    from slipway.serving import run
    from slipway.settings.access import is_local

    if not (anyone or is_local(host)):
        raise MlopsError(
            f"others than this machine reach {host}, and this server does not ask who they are",
            "deploy an environment, whose file says who may ask; or add --anyone",
        )
    project = Project.find()
    registry = Registry.open(project)
    found = registry.find(version)
    bundle = registry.fetch(found)
    settings = run.ServerSettings(
        bundle=bundle.path, state=project.state, limits=project.policy.serving,
        digest=found.digest, version=found.number, commit=found.commit,
        environment="local", source="registry", host=host, port=port, hidden=masks.prepare(project, "local"),
    )  # fmt: skip
    with uploads.beside(settings.state, settings.environment, settings.limits.log):
        run.run(settings)


def batch(
    source: Annotated[Path, typer.Argument(help="Rows to predict: a file, or a folder of them, as data.format says.")],
    target: Annotated[Path, typer.Argument(help="Where the answers go: .csv or .parquet.")],
    version: Annotated[str, typer.Option(help="A version number or an alias.")] = "latest",
) -> None:
    """Predict files of rows, however large; run again after a kill, it goes on."""
    from slipway.base.numbers import counted
    from slipway.registry.models import Registry
    from slipway.serving import batch as batches
    from slipway.training import engines
    from slipway.training.scoring import Scorer

    project = Project.find()
    with_score, form = project.policy.serving.return_score, project.params.data.format
    with engines.opened(project, say) as engine:
        registry = Registry.open(project)
        found = registry.find(version)
        scorer = Scorer(registry.fetch(found), threads=engine.threads)
        rows = batches.predict(scorer, source, target, with_score=with_score, log=say, engine=engine, form=form)
    typer.echo(f"{counted(rows, 'row')} predicted by version {found.number}, in {target}")


def upload(
    environment: EnvironmentName,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until stopped, every 30 seconds.")] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Then join the objects of days before yesterday, of all machines, into few.")
    ] = False,
) -> None:
    """Upload what servers on this machine have logged to the bucket of `serving.log`."""
    import signal
    from datetime import UTC, datetime

    from slipway.base.buckets import is_bucket
    from slipway.base.errors import MlopsError
    from slipway.base.numbers import counted
    from slipway.delivery import fleet
    from slipway.log.upload import Uploader

    if follow and join:
        problem = "with --follow there is no end after which --join could begin"
        raise MlopsError(problem, "leave one of them out", exit_code=2)
    project = Project.find()
    address = project.policy.serving.log
    if not is_bucket(address):
        raise MlopsError(
            "policy.yaml keeps the log in no bucket", "name one as `log` below `serving`, like s3://name/logs"
        )
    uploader = Uploader(project.state, environment, address, say, fleet.looker(project, environment))
    if not follow:
        typer.echo(f"uploaded to {address}: {counted(uploader.once(), 'object')}")
        if join:
            typer.echo(f"joined into larger ones: {counted(uploader.join(datetime.now(UTC)), 'object')}")
        return
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: uploader.end())
    uploader.follow()
