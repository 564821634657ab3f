"""Commands that propose what a finding leads to."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.common import moment_of, offer, offer_training, say
from slipway.settings.project import Project


def widen(
    environment: Annotated[
        str | None, typer.Argument(help="What its servers refused; without it, what the pipeline refuses.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="How far back: 7d, 12h, or a date; everything by default.")] = None,
) -> None:
    """Propose a contract that accepts what it refused, as a reviewed change."""
    from slipway.delivery import environments
    from slipway.monitoring import refused
    from slipway.proposals import widen as widening

    project, start = Project.find(), moment_of(since)
    if environment is None:
        found, where = refused.ingested(project), f"the rows in {project.params.data.source}"
    else:
        environments.path_of(project, environment)
        found, where = refused.recorded(project, environment, start), f"requests to {environment}"
    wider = widening.propose_wider(project, found, where)
    for line in wider.remarks:
        typer.echo(f"not proposed: {line}")
    if wider.proposal is None:
        rest = "none of it can be proposed" if wider.remarks else "contract.py takes every value"
        typer.echo(f"nothing to propose of {where}: {rest}")
        raise typer.Exit(3)
    for line in wider.changes:
        typer.echo(f"{'proposed' if wider.proposal.is_new else 'proposed before'}: {line}")
    offer(project, wider.proposal)


def retrain(
    finding: Annotated[str | None, typer.Option(help="Why, in a sentence, as the monitor tells it.")] = None,
) -> None:
    """Propose to learn from the newest rows, and have a candidate trained."""
    from slipway.proposals import retrain as retraining

    project = Project.find()
    offer_training(project, retraining.propose_retraining(project, finding, say))
