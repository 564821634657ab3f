"""The commands that only a project with containers has; `cli.py` adds them to its own."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.settings.project import Project


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands, too."""
    app.command()(build)
    platform = typer.Typer(help="Start or stop what surrounds the models.", no_args_is_help=True)
    platform.command()(up)
    platform.command()(down)
    app.add_typer(platform, name="platform")


def build(
    uses: Annotated[list[str] | None, typer.Argument(help="train, serve or monitor; all by default.")] = None,
    push: Annotated[bool, typer.Option("--push", help="Send them to the registry and note it at the model.")] = False,
    where_possible: Annotated[
        bool, typer.Option("--where-possible", help="Say what is missing, an engine or a login, and do the rest.")
    ] = False,
) -> None:
    """Make the container images of this commit, and try them."""
    from slipway.delivery.compose import images

    wanted = uses or list(images.USES)
    if unknown := set(wanted) - set(images.USES):
        raise MlopsError(f"there is no image {min(unknown)}", f"choose from {', '.join(images.USES)}", exit_code=2)
    project = Project.find()
    if where_possible:
        wanted, push = images.possible(project, wanted, push=push, log=_log)
    for use, image in images.build(project, wanted, push=push, log=_log).items():
        typer.echo(f"{use:<8}{image}")


def up() -> None:
    """Start tracking, objects, metrics, alerts and dashboards on this machine, and the released models."""
    from slipway.delivery.compose import services

    for service, address in services.up(Project.find(), _log).items():
        typer.echo(f"{service:<14}{address}")
    typer.echo("next: export MLFLOW_TRACKING_URI with the address of mlflow, or set tracking_uri in pyproject.toml")


def down() -> None:
    """Stop the services; what they have stored stays, and so do the environments."""
    from slipway.delivery.compose import services

    services.down(Project.find())


def _log(line: str) -> None:
    sys.stderr.write(line + "\n")
