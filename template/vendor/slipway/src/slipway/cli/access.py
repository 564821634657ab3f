"""The group `mlops access`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli.common import EPILOG, EnvironmentName, offer
from slipway.settings.project import Project

app = typer.Typer(
    name="access",
    help="Say who may ask an environment's server.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Who the token is for: small letters, digits and hyphens.", metavar="NAME")]


def add(
    name: Name,
    environment: EnvironmentName,
    until: Annotated[str | None, typer.Option(help="The last day on which it is taken, like 2027-03-31.")] = None,
) -> None:
    """Make a token, show it once, and propose that its owner may ask."""
    from slipway.delivery import access

    project = Project.find()
    proposal, token = access.add(project, environment, name, _day(until))
    typer.echo(token)
    typer.echo("this is its only copy: the file holds its digest")
    offer(project, proposal)


def remove(name: Name, environment: EnvironmentName) -> None:
    """Propose that the owner of a token may ask no more."""
    from slipway.delivery import access

    project = Project.find()
    offer(project, access.remove(project, environment, name))


def show(environment: EnvironmentName) -> None:
    """Show who may ask, by this checkout, and how the prediction log calls them."""
    from slipway.delivery import access

    for line in access.listed(Project.find(), environment, datetime.now(UTC).date()):
        typer.echo(line)


def _day(text: str | None) -> date | None:
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        raise MlopsError(f"--until {text} is no day", "write it like 2027-03-31", exit_code=2) from None
    if day and day < datetime.now(UTC).date():
        raise MlopsError(f"--until {text} has passed", "name a day that is still to come", exit_code=2)
    return day


app.command()(add)
app.command()(remove)
app.command("list")(show)
