"""Commands on environments: what should run there, and what does."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from slipway.cli.common import EnvironmentName, offer, say
from slipway.settings.project import Project


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


def deploy(environment: EnvironmentName) -> None:
    """Make an environment match its file."""
    from slipway.delivery import deploy as deploying
    from slipway.delivery import environments

    project = Project.find()
    release = deploying.deploy(project, environment, say)
    address = environments.load(project, environment).serve
    typer.echo(f"{environment} answers with version {release.version} at http://{address.host}:{address.port}")


def rollback(
    environment: EnvironmentName,
    propose: Annotated[bool, typer.Option("--propose", help="Only make a branch to review.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Send the commit to origin, as a job does.")] = False,
) -> None:
    """Restore the previous model of an environment and deploy it."""
    from slipway.delivery import environments
    from slipway.forge import hosting

    project = Project.find()
    proposal, release = environments.rollback(project, environment, propose=propose)
    if proposal:
        offer(project, proposal)
        return
    typer.echo(f"committed: {environment} names version {release.version} again")
    deploy(environment)
    if push:
        typer.echo(hosting.of(project).publish(f"rollback/{environment}-v{release.version}"))


def status() -> None:
    """Show what should run and what does, for each environment."""
    from slipway.delivery import deploy as deploying
    from slipway.delivery import environments, target

    project = Project.find()
    for name in environments.names(project):
        wanted = environments.load(project, name)
        asked = target.name_for(project, wanted)
        found = next(iter(deploying.running(project, name)), None)
        champion, running = wanted.champion, found.running if found else None
        should = f"should run version {champion.version}" if champion else "names no champion yet"
        does = f"runs version {running.version}, {running.digest[:19]}" if running else "runs nothing"
        newer = running.run.platform if running and running.run else None
        served = f", served by platform {newer.version}, {newer.digest[:19]}" if newer else ""
        where = f", on {found.target}, and its file says {asked}" if found and found.target != asked else ""
        rival = running.challenger if running else None
        beside = f", with version {rival.run.version} as {rival.mode} of {rival.share:.0%}" if rival else ""
        typer.echo(f"{name:<12}{should}, {does}{served}{where}{beside}")


def stop(environment: EnvironmentName) -> None:
    """Stop the server of an environment."""
    from slipway.delivery import deploy as deploying

    stopped = deploying.stop(Project.find(), environment)
    typer.echo(f"{environment} {'stopped' if stopped else 'was not running'}")
