"""Commands that show where things come from, and whether all of it is there."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.common import AsJson, print_facts
from slipway.settings.project import Project


def trace(
    reference: Annotated[
        str, typer.Argument(help="A prediction's id, a server's address, an environment or a version.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show where a model, a server or a prediction came from."""
    from slipway.evidence import trace as tracing

    facts = tracing.trace(Project.find(), reference)
    print_facts(facts, tracing.trace_text(facts), as_json=as_json)


def audit() -> None:
    """Check that every pointer resolves."""
    from slipway.evidence import audit as auditing

    findings = auditing.audit(Project.find())
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.holds else 'FAIL'}  {finding.what}")
        if not finding.holds:
            typer.echo(f"      {finding.detail}")
    raise typer.Exit(0 if all(finding.holds for finding in findings) else 3)


def privacy(as_json: AsJson = False) -> None:
    """Look for personal data in the raw data and the prediction logs."""
    from slipway.log import personal

    found = personal.scan(Project.find())
    print_facts(found, personal.scan_text(found), as_json=as_json)
    raise typer.Exit(found.exit_code)
