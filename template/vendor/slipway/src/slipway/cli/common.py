"""What commands share: their options, and how they print."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.base.errors import MlopsError
from slipway.settings.project import Project

if TYPE_CHECKING:
    from slipway.forge.proposals import Proposal
    from slipway.training.bundle import Bundle

EPILOG = "Exit codes: 0 done, 1 not possible, 2 wrong usage, 3 done and the answer is no."

EnvironmentName = Annotated[str, typer.Argument(help="staging or production.", metavar="ENVIRONMENT")]
Until = Annotated[str | None, typer.Option(help="As it was known then: a date or a span ago; now by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")]

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def say(line: str) -> None:
    """Tell about the progress of long work, beside what a command prints."""
    sys.stderr.write(line + "\n")


def offer(project: Project, proposal: Proposal, workflow: str | None = None) -> None:
    """Offer a proposal for review, and say what it is, where it is and what to do about it; or start a workflow."""
    from slipway.forge import hosting

    typer.echo(str(proposal))
    typer.echo(proposal.send(project))
    if workflow:
        typer.echo(hosting.of(project).start(workflow, proposal.branch))
    else:
        typer.echo(f"next: {proposal.next_step}")


def offer_training(project: Project, proposal: Proposal) -> None:
    """Offer a proposal that needs training, and have a candidate trained where a host can do that."""
    from slipway.forge import hosting

    if proposal.is_new and hosting.of(project).is_connected:
        offer(project, proposal, workflow="train.yml")
        typer.echo("next: review what it registers; it proposes that for staging when every gate has passed")
        return
    offer(project, proposal)


def print_facts(facts: Any, text: str, *, as_json: bool) -> None:
    """Print what a command found: as text, or the same facts as JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode() if as_json else text)


def span_of(text: str, option: str) -> timedelta:
    """Read the span of time that an option gives, like 30d."""
    try:
        span = timedelta(**{_UNITS[text[-1:]]: float(text[:-1])})
    except (KeyError, ValueError, OverflowError):
        span = timedelta(0)
    if span <= timedelta(0):
        raise MlopsError(f"{option} {text} is no span of time", "write 30d or 12h", exit_code=2)
    return span


def moment_of(since: str | None, option: str = "--since") -> datetime | None:
    """Read the moment that an option gives: a date, or a span ago."""
    if since is None:
        return None
    try:
        if since[-1:] in _UNITS:
            return datetime.now(UTC) - timedelta(**{_UNITS[since[-1]]: float(since[:-1])})
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise MlopsError(
            f"{option} {since} is no span and no date", "write 7d, 12h or 2013-12-31", exit_code=2
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def champion_bundle(project: Project, environment: str) -> Bundle:
    """The bundle of the champion that an environment's file names."""
    from slipway.delivery import environments
    from slipway.registry.models import bundle_of

    release = environments.champion(project, environment)
    return bundle_of(project, release.version, release.digest)[0]
