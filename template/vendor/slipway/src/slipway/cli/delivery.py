"""Commands on environments: what should run there, and what does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slipway.cli.common import EnvironmentName, offer, say
from slipway.settings.project import Project

if TYPE_CHECKING:
    from slipway.settings.environment import Release


def promote(
    environment: EnvironmentName,
    version: Annotated[str | None, typer.Option(help="A version number or alias; the newest by default.")] = None,
    this_platform: Annotated[
        bool, typer.Option("--this-platform", help="Serve it with the platform of this commit, not with its own.")
    ] = False,
) -> None:
    """Propose a model for an environment, as a reviewed change."""
    from slipway.delivery import environments

    project = Project.find()
    proposal, release = environments.promote(project, environment, version, this_platform=this_platform)
    if proposal is None:
        typer.echo(f"{environment} names version {release.version} already: nothing to propose")
        return
    offer(project, proposal)


def challenge(
    environment: EnvironmentName,
    version: Annotated[str | None, typer.Option(help="A version number or alias; the newest by default.")] = None,
    mode: Annotated[
        Literal["canary", "shadow"], typer.Option(help="Let it answer clients (canary), or score copies (shadow).")
    ] = "shadow",
    share: Annotated[
        float | None, typer.Option(help="Its part of the requests; 0.1 for a canary, 1 for a shadow by default.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="A column: equal values always meet the same version.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Propose to go on without the challenger.")] = False,
) -> None:
    """Propose a second version beside the champion, or its end."""
    from slipway.delivery import environments

    project = Project.find()
    if end:
        offer(project, environments.end_challenge(project, environment))
        return
    offer(project, environments.challenge(project, environment, version, mode=mode, share=share, key=key))


def deploy(
    environment: EnvironmentName,
    force: Annotated[
        bool, typer.Option("--force", help="Also where main says otherwise by now, or it was rolled back from.")
    ] = False,
) -> None:
    """Make an environment match its file."""
    from slipway.delivery import deploy as deploying

    project = Project.find()
    _say_who_answers(project, environment, deploying.deploy(project, environment, say, force=force))


def rollback(
    environment: EnvironmentName,
    propose: Annotated[bool, typer.Option("--propose", help="Only make a branch to review.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Send the commit to origin, as a job does.")] = False,
) -> None:
    """Serve the previous model of an environment, and commit that."""
    from slipway.delivery import environments, target
    from slipway.delivery import rollback as rolling

    project = Project.find()
    if propose:
        offer(project, rolling.propose(project, environment))
        return
    release = rolling.roll_back(project, environment, say)
    is_pulled = target.is_pulled(project, environments.load(project, environment))
    if not is_pulled:
        _say_who_answers(project, environment, release)
    typer.echo(f"committed: {environment} names version {release.version} again")
    if push:
        typer.echo(rolling.publish(project, environment, release))
    if is_pulled:
        typer.echo(f" next: mlops deploy {environment}, once that is on main: it waits until the cluster has pulled it")


def _say_who_answers(project: Project, environment: str, release: Release) -> None:
    from slipway.delivery import environments, target

    address = target.address_of(project, environment, environments.load(project, environment))
    typer.echo(f"{environment} answers with version {release.version} at {address}")


def status() -> None:
    """Show what should run, what does, on which machines, and whether it answers, for each environment."""
    from datetime import UTC, datetime

    from slipway.delivery import environments, fleet, overview

    project = Project.find()
    names = environments.names(project)
    machines = fleet.describe(project, names, datetime.now(UTC))
    for name in names:
        typer.echo(f"{name:<10}  {overview.describe(project, name)}")
        for line in machines.get(name, []):
            typer.echo(f"{'':<12}  {line}")


def stop(environment: EnvironmentName) -> None:
    """Stop the server of an environment."""
    from slipway.delivery import deploy as deploying

    stopped = deploying.stop(Project.find(), environment)
    typer.echo(f"{environment} {'stopped' if stopped else 'was not running'}")
