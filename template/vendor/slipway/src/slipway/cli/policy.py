"""The group `mlops policy`."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.common import EPILOG
from slipway.settings.project import Project

app = typer.Typer(
    name="policy",
    help="Add to what policy.yaml demands.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add(
    names: Annotated[
        list[str], typer.Argument(help="Blocks of settings; `mlops policy list` has them.", metavar="NAME...")
    ],
) -> None:
    """Add blocks of settings to policy.yaml, with their comments."""
    from slipway.settings import policy_add

    policy_add.add(Project.find(), names)
    typer.echo(f"added to policy.yaml: {', '.join(names)}")
    typer.echo("next: set its numbers there, and have the change reviewed")


def show() -> None:
    """Show what policy.yaml can hold, and what it holds."""
    from slipway.settings import policy_add

    found = policy_add.listed(Project.find())
    width = max(len(block.name) for block, _ in found)
    for block, is_there in found:
        typer.echo(f"{block.name:<{width}}  {'yes' if is_there else '-':<5}{block.line}")


app.command()(add)
app.command("list")(show)
