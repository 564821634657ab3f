"""Commands on this clone, and on what it is connected to."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.settings.project import Project


def setup() -> None:
    """Make this clone ready to work."""
    from slipway.workspace import setup as workspace

    for done in workspace.setup(Project.find()):
        typer.echo(done)
    typer.echo("next: uv run mlops pipeline")


def connections() -> None:
    """Show which services can be reached from here, and what the others need."""
    from slipway.forge import hosting
    from slipway.workspace import connections as connecting

    project = Project.find()
    found = connecting.connections(project)
    for one in found:
        typer.echo(f"{one.name:<10}  {'yes' if one.there else 'not yet':<9}{one.how}")
    host = hosting.of(project)
    host.output(**{one.name: one.there for one in found}, fetch_cosign=connecting.fetches_cosign(project))
    host.summarize(connecting.as_markdown(found))
    for warning in connecting.warnings():
        typer.echo(warning)
        host.summarize(f"**{warning}**")


def rules(
    apply: Annotated[bool, typer.Option("--apply", help="Make the repository's rules those of the file.")] = False,
) -> None:
    """Check the repository's branch rules against .github/rules.json."""
    from slipway.forge import hosting

    host = hosting.of(Project.find())
    for done in host.apply_rules() if apply else []:
        typer.echo(done)
    broken = host.broken_rules()
    for line in broken:
        typer.echo(line)
    if not broken:
        typer.echo(f"the repository's rules are those of {host.rules_file}")
    raise typer.Exit(3 if broken else 0)


def advisories(
    database: Annotated[str | None, typer.Option(help="Address of a database like OSV's.")] = None,
) -> None:
    """Look up known weaknesses of dependencies."""
    from datetime import UTC, datetime

    from slipway.forge import hosting
    from slipway.workspace import advisories as advising

    project = Project.find()
    found = advising.look_up(project, datetime.now(UTC).date(), database)
    lines = [*found.open, *found.noted]
    if found.unreachable:
        lines.append(f"nothing was looked up, as the database did not answer: {found.unreachable}")
    elif not lines:
        lines.append("no weakness is known of what uv.lock names")
    typer.echo("\n".join(lines))
    hosting.of(project).summarize("\n".join(f"- {line}" for line in lines))
    if found.open:
        typer.echo("next: uv lock --upgrade-package NAME; or accept it until a day: mlops policy add advisories")
        raise typer.Exit(3)
