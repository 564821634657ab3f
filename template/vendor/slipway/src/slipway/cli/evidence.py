"""Commands that show where things come from, and whether all of it is there."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from slipway.cli.common import EPILOG, AsJson, EnvironmentName, print_facts
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


def governance(as_json: AsJson = False) -> None:
    """Show what is kept where and for how long, and who may read, write and delete it."""
    from slipway.evidence import choices

    rules = choices.governed(Project.find())
    print_facts(rules, choices.text(rules), as_json=as_json)


def audit(
    actor: Annotated[
        Literal["person", "main", "pull-request", "server", "monitor"] | None,
        typer.Option("--as", help="Whose rights this identity shall have; by default a person's, or a job's in one."),
    ] = None,
) -> None:
    """Check that every pointer resolves, and that nobody may do more than they should."""
    from slipway.evidence import audit as auditing
    from slipway.evidence.findings import findings_text
    from slipway.evidence.governance import Actor

    findings = auditing.audit(Project.find(), Actor(actor) if actor else None)
    typer.echo(findings_text(findings))
    raise typer.Exit(0 if all(finding.holds for finding in findings) else 3)


privacy = typer.Typer(
    name="privacy",
    help="Look for personal data in the raw data and the prediction logs; erase a subject from the logs.",
    epilog=EPILOG,
    rich_markup_mode=None,
)


@privacy.callback(invoke_without_command=True)
def _scan(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand:
        return
    from slipway.log import personal

    found = personal.scan(Project.find())
    print_facts(found, personal.scan_text(found), as_json=as_json)
    raise typer.Exit(found.exit_code)


@privacy.command()
def erase(
    environment: EnvironmentName,
    key: Annotated[str, typer.Option(help="Whose rows: COLUMN=VALUE, or id=ID of an answer.")],
    ticket: Annotated[str, typer.Option(help="What the request is called; it goes into the record.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a subject's rows from the logs of an environment, and record that it was done."""
    from slipway.log import erasure

    project = Project.find()
    done = erasure.erase(project, environment, key, ticket, dry_run=dry_run)
    labels = f", {done.labels} labels" if done.labels else ""
    said = (
        f"{done.predictions} predictions{labels} and {done.refusals} refusals with this {done.key} "
        f"in the log of {environment}"
    )
    print_facts(done, f"{said}, {'nothing changed' if dry_run else f'erased; record {done.id}'}", as_json=as_json)
