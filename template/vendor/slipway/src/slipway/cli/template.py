"""The group `mlops template`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.common import EPILOG, offer, say
from slipway.settings.project import Project

if TYPE_CHECKING:
    from slipway.template.update import Update

app = typer.Typer(
    name="template",
    help="Follow the template this project was made from.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)

TargetVersion = Annotated[str | None, typer.Option("--to", help="A version of the template; the newest by default.")]
NewAnswers = Annotated[list[str] | None, typer.Option("--answer", help="KEY=VALUE, another answer to a question.")]
Moved = Annotated[str | None, typer.Option("--from", help="Where the template is now, if it has moved.")]
Trust = Annotated[bool, typer.Option("--trust", help="Let the template run the scripts in its hooks/.")]


def update(
    to: TargetVersion = None,
    answer: NewAnswers = None,
    moved: Moved = None,
    trust: Trust = False,
    where_possible: Annotated[
        bool, typer.Option("--where-possible", help="Say where the template cannot be read from here, and pass.")
    ] = False,
) -> None:
    """Propose a newer version, for review."""
    from slipway.forge import hosting
    from slipway.template import update as template

    project = Project.find()
    if where_possible and (reason := template.out_of_reach(project.root)):
        told = f"No newer version was looked for: {reason}. Run `uv run mlops template update` where it can be read."
        typer.echo(told)
        hosting.of(project).summarize(told)
        return
    update = template.prepare(project.root, to, answer, trust=trust, source=moved)
    _show(update)
    if proposal := template.propose_update(update):
        offer(project, proposal)


def diff(to: TargetVersion = None, answer: NewAnswers = None, moved: Moved = None, trust: Trust = False) -> None:
    """Show what a newer version would change."""
    from slipway.template import update as template

    update = template.prepare(Project.find().root, to, answer, trust=trust, source=moved)
    _show(update)
    typer.echo(update.difference, nl=False)
    raise typer.Exit(3 if update.conflicts else 0)


def audit() -> None:
    """Show where files differ from their version."""
    from slipway.template import audit as template
    from slipway.template import vendored

    root = Project.find().root
    edited = vendored.edited(root)
    for path in edited:
        typer.echo(f"{'edited':<22}{path}")
    published = f"slipway-mlops {vendored.version(root)}, sha256:{vendored.digest(root)[:12]}"
    typer.echo(f"vendor/slipway is {'not quite' if edited else 'what was published as'} {published}")
    drift = template.audit(root)
    if drift.kept:
        say(f"compared with what was rendered before: {drift.kept}")
    for found in drift.files:
        what = "missing" if found.is_missing else f"+{found.added} -{found.removed}"
        typer.echo(f"{found.owner:<10}{what:<12}{found.path}")
    poor = [found.path for found in drift.files if found.owner == "shared" and (found.removed or found.is_missing)]
    if poor:
        typer.echo(f"{len(poor)} shared file{'s'[: len(poor) > 1]} without lines of the template, which show in green:")
        typer.echo(f"      git diff HEAD {drift.rendered[:12]} -- {shlex.join(poor)}")
    for path in template.unused(root):
        typer.echo(f"nothing imports {path} any more: git rm {shlex.quote(path)}")
    for problem, way in drift.obstacles:
        typer.echo(f"{problem}\nnext: {way}")
    away = [found.path for found in drift.files if found.owner == "platform"]
    if not away:
        typer.echo("the platform is as its version made it")
    else:
        typer.echo(f"{len(away)} file{'s'[: len(away) > 1]} of the platform differ from the recorded version")
        typer.echo("next: keep them, or take the template's:")
        typer.echo(f"      git restore --source={drift.rendered[:12]} -- {shlex.join(away)}")
    if away or drift.obstacles:
        raise typer.Exit(3)


def _show(update: Update) -> None:
    """Say what a project will see of an update."""
    if update.changes_nothing:
        typer.echo(f"nothing changes: this project is at {update.target}")
        return
    say(f"{update.current} to {update.target}: what your project will see\n\n{update.news or 'no entry'}\n")
    for path in update.both_changed:
        say(f"merged with your changes: {path}")
    for path in update.conflicts:
        say(f"in conflict with your changes: {path}")
    if update.left:
        say(f"yours, and not changed by these answers: {', '.join(update.left)}; what a new project has in them:")
        say(f"      git diff HEAD {update.fresh[:12]} -- {shlex.join(update.left)}")


app.command()(update)
app.command()(diff)
app.command()(audit)
