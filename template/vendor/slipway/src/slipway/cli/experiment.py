"""Commands that compare versions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli.common import AsJson, EnvironmentName, Until, moment_of, offer, print_facts, say
from slipway.settings.project import Project


def compare(
    first: Annotated[str | None, typer.Argument(help="A version number or an alias.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another one.")] = None,
    live: Annotated[
        str | None, typer.Option(metavar="ENVIRONMENT", help="Champion and challenger on real requests.")
    ] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Score two versions on the same frozen rows, or on real requests whose outcome is known."""
    if live is not None and first is None:
        from slipway.experiment import trial as living
        from slipway.experiment.text import comparison_text

        compared = living.compare_live(Project.find(), live, moment_of(until, "--until") or datetime.now(UTC))
        print_facts(compared, comparison_text(compared), as_json=as_json)
        return
    if live is not None or first is None or second is None:
        raise MlopsError(
            "compare needs two versions, or --live and an environment", "mlops compare 1 champion", exit_code=2
        )
    from slipway.registry import compare as comparing

    comparison = comparing.compare_versions(Project.find(), first, second, say)
    print_facts(comparison, str(comparison), as_json=as_json)


def decide(environment: EnvironmentName, until: Until = None) -> None:
    """Propose what the trial of a challenger has shown, as a reviewed change."""
    from slipway.experiment import trial

    project = Project.find()
    proposal, compared = trial.decide(project, environment, moment_of(until, "--until") or datetime.now(UTC))
    typer.echo(f"{compared.verdict.decision.value}: {compared.verdict.reason}")
    if proposal is None:
        typer.echo(f"nothing to propose yet; next: {compared.next_step}")
        return
    offer(project, proposal)
