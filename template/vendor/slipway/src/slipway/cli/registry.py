"""Commands on registered versions."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.common import say
from slipway.settings.project import Project


def register(
    push: Annotated[bool, typer.Option("--push", help="Send its commit to origin, as a job does.")] = False,
) -> None:
    """Put a trained model that passed its gates into the registry."""
    from slipway.forge import hosting
    from slipway.registry import register as registration
    from slipway.registry.models import Registry

    project = Project.find()
    version, new = registration.register(project, say)
    if push:
        branch = registration.send(project, version)
        hosting.of(project).output(version=str(version.number), branch=branch)
    typer.echo(f"version {version.number} {'registered' if new else 'was registered before'}, {version.digest}")
    if new and version.number == 1 and (local := Registry.open(project).of_this_machine()):
        say(local)
    typer.echo(f"next: uv run mlops promote staging{'' if new else f' --version {version.number}'}")


def sign(version: Annotated[str, typer.Argument(help="A version number or an alias.")] = "latest") -> None:
    """Sign a registered version, as policy.yaml can demand before a deployment."""
    from slipway.registry import signing

    signed, signer = signing.sign(Project.find(), version)
    typer.echo(f"version {signed.number} signed by {signer}, {signed.digest}")
