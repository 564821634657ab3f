"""Commands that need a container engine: `mlops build`, and the group `mlops platform`."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli.common import say
from slipway.settings.project import Project


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
        wanted, push = images.possible(project, wanted, push=push, log=say)
    for use, image in images.build(project, wanted, push=push, log=say).items():
        typer.echo(f"{use:<8}{image}")


def up() -> None:
    """Start tracking, objects, metrics, alerts and dashboards on this machine, and the released models."""
    from slipway.delivery.compose import services

    for service, address in services.up(Project.find(), say).items():
        typer.echo(f"{service:<14}{address}")
    typer.echo("next: export MLFLOW_TRACKING_URI with the address of mlflow, or set tracking_uri in pyproject.toml")


def down() -> None:
    """Stop the services; what they have stored stays, and so do the environments."""
    from slipway.delivery.compose import services

    services.down(Project.find())


app = typer.Typer(name="platform", help="Start or stop what surrounds the models.", no_args_is_help=True)
app.command()(up)
app.command()(down)
