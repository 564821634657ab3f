"""Commands that compare versions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli.common import AsJson, EnvironmentName, Until, moment_of, offer, print_facts, say
from slipway.settings.project import Project


def compare(
    first: Annotated[
        str | None, typer.Argument(help="A version, an alias, a branch, a tag, a commit, a try of `dvc exp`, or a run.")
    ] = None,
    second: Annotated[str | None, typer.Argument(help="Another one.")] = None,
    live: Annotated[
        str | None, typer.Option(metavar="ENVIRONMENT", help="Champion and challenger on real requests.")
    ] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Score two versions on the same frozen rows, or on real requests; or compare what branches and runs reported."""
    if live is not None and first is None:
        from slipway.experiment import trial as living
        from slipway.experiment.text import comparison_text

        compared = living.compare_live(Project.find(), live, moment_of(until, "--until") or datetime.now(UTC))
        print_facts(compared, comparison_text(compared), as_json=as_json)
        return
    if live is not None or first is None or second is None:
        raise MlopsError(
            "compare needs two names, of versions, branches, tags, commits or runs, or --live and an environment",
            "mlops compare 1 2, or mlops compare main HEAD",
            exit_code=2,
        )
    from slipway.pages.compare_page import write_compare_page
    from slipway.registry import compare as comparing
    from slipway.registry.comparison_text import comparison_text as text_of

    project = Project.find()
    comparison = comparing.compare(project, first, second, say)
    page = write_compare_page(project, comparison)
    print_facts(comparison, text_of(comparison), as_json=as_json)
    say(f"page: {page}")


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
