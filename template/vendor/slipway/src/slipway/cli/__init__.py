"""The command line: each command is a few lines that call one module and print what it found.

Heavy libraries are imported inside the commands, so that `mlops --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slipway.base.errors import MlopsError
from slipway.cli import containers
from slipway.settings.project import Project

if TYPE_CHECKING:
    from slipway.forge.proposals import Proposal
    from slipway.template import update as template

EPILOG = "Exit codes: 0 done, 1 not possible, 2 wrong usage, 3 done and the answer is no."

app = typer.Typer(
    name="mlops",
    help="Take a model from raw data to production and back.\n\n"
    "Start with `mlops setup`. Settings live in params.yaml and policy.yaml.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

template_app = typer.Typer(
    name="template",
    help="Follow the template this project was made from.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)

EnvironmentName = Annotated[str, typer.Argument(help="staging or production.", metavar="ENVIRONMENT")]
Until = Annotated[str | None, typer.Option(help="As it was known then: a date or a span ago; now by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")]


def main() -> None:
    """Run the command line; what a user can solve is two lines, what is our fault a full trace."""
    try:
        app()
    except MlopsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _offer(project: Project, proposal: Proposal, workflow: str | None = None) -> None:
    """Offer a proposal for review, and say what it is, where it is and what to do about it; or start a workflow."""
    from slipway.forge import base

    typer.echo(str(proposal))
    typer.echo(proposal.send(project))
    if workflow:
        typer.echo(base.of(project).start(workflow, proposal.branch))
    else:
        typer.echo(f"next: {proposal.next_step}")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(installed("slipway-mlops"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


@app.command()
def setup() -> None:
    """Make this clone ready to work."""
    from slipway.workspace import setup as workspace

    for done in workspace.setup(Project.find()):
        typer.echo(done)
    typer.echo("next: uv run mlops pipeline")


@app.command()
def pipeline(
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
    commit: Annotated[bool, typer.Option("--commit", help="Commit what it made, as a job does.")] = False,
    against: Annotated[str, typer.Option(help="A branch or commit to compare the metrics with.")] = "HEAD",
) -> None:
    """Run the stages whose inputs have changed, and judge the model."""
    from slipway.forge import base
    from slipway.training import pipeline as pipelines
    from slipway.training.gates import as_markdown, require_passed

    project = Project.find()
    checks = pipelines.run(project, force)
    for check in checks:
        typer.echo(f"{'pass' if check.passed else 'FAIL'}  {check}")
    text = as_markdown(project, checks, against)
    host = base.of(project)
    host.summarize(text)
    host.output(summary=text)
    require_passed(checks, "the model")
    if commit:
        made = pipelines.commit(project)
        typer.echo(f"committed as {made[:12]}" if made else "nothing to commit: dvc.lock and reports are as they were")
        return
    typer.echo("next: commit dvc.lock and reports, then: uv run mlops register")


@app.command()
def stage(name: Annotated[str, typer.Argument(help="ingest, validate, split, train, evaluate or export.")]) -> None:
    """Run one stage of the pipeline alone, untracked."""
    from slipway.data.stages import run_stage

    run_stage(Project.find(), name)


@app.command()
def register(
    push: Annotated[bool, typer.Option("--push", help="Send its commit to origin, as a job does.")] = False,
) -> None:
    """Put a trained model that passed its gates into the registry."""
    from slipway.forge import base, git
    from slipway.registry import register as registration

    project = Project.find()
    version, new = registration.register(project, _say)
    if push:
        branch = f"candidate/v{version.number}"
        git.git(project.root, "branch", "--force", branch, "HEAD")
        git.push(project.root, branch)
        base.of(project).output(version=str(version.number), branch=branch)
    typer.echo(f"version {version.number} {'registered' if new else 'was registered before'}, {version.digest}")
    typer.echo("next: uv run mlops promote staging")


@app.command()
def sign(version: Annotated[str, typer.Argument(help="A version number or an alias.")] = "latest") -> None:
    """Sign a registered version, as policy.yaml can demand before a deployment."""
    from slipway.registry import signing

    signed, signer = signing.sign(Project.find(), version)
    typer.echo(f"version {signed.number} signed by {signer}, {signed.digest}")


@app.command()
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

        compared = living.compare(Project.find(), live, _moment(until, "--until") or datetime.now(UTC))
        _print(compared, living.comparison_text(compared), as_json=as_json)
        return
    if live is not None or first is None or second is None:
        raise MlopsError(
            "compare needs two versions, or --live and an environment", "mlops compare 1 champion", exit_code=2
        )
    from slipway.registry import compare as comparing

    comparison = comparing.compare(Project.find(), first, second, _say)
    _print(comparison, str(comparison), as_json=as_json)


@app.command()
def decide(environment: EnvironmentName, until: Until = None) -> None:
    """Propose what the trial of a challenger has shown, as a reviewed change."""
    from slipway.experiment import trial

    project = Project.find()
    proposal, compared = trial.decide(project, environment, _moment(until, "--until") or datetime.now(UTC))
    typer.echo(f"{compared.verdict.decision.value}: {compared.verdict.reason}")
    if proposal is None:
        typer.echo(f"nothing to propose yet; next: {compared.next_step}")
        return
    _offer(project, proposal)


@app.command()
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
    _offer(project, proposal)


@app.command()
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
        _offer(project, environments.end_challenge(project, environment))
        return
    _offer(project, environments.challenge(project, environment, version, mode=mode, share=share, key=key))


@app.command()
def deploy(environment: EnvironmentName) -> None:
    """Make an environment match its file."""
    from slipway.delivery import deploy as deploying
    from slipway.delivery import environments

    project = Project.find()
    release = deploying.deploy(project, environment, _say)
    address = environments.load(project, environment).serve
    typer.echo(f"{environment} answers with version {release.version} at http://{address.host}:{address.port}")


@app.command()
def rollback(
    environment: EnvironmentName,
    propose: Annotated[bool, typer.Option("--propose", help="Only make a branch to review.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Send the commit to origin, as a job does.")] = False,
) -> None:
    """Restore the previous model of an environment and deploy it."""
    from slipway.delivery import environments
    from slipway.forge import base

    project = Project.find()
    proposal, release = environments.rollback(project, environment, propose=propose)
    if proposal:
        _offer(project, proposal)
        return
    typer.echo(f"committed: {environment} names version {release.version} again")
    deploy(environment)
    if push:
        typer.echo(base.of(project).publish(f"rollback/{environment}-v{release.version}"))


@app.command()
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


@app.command()
def stop(environment: EnvironmentName) -> None:
    """Stop the server of an environment."""
    from slipway.delivery import deploy as deploying

    stopped = deploying.stop(Project.find(), environment)
    typer.echo(f"{environment} {'stopped' if stopped else 'was not running'}")


@app.command()
def serve(
    version: Annotated[str, typer.Option(help="A version number or an alias.")] = "latest",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Answer prediction requests over HTTP, in the foreground."""
    from slipway.log import masks
    from slipway.registry.models import Registry
    from slipway.serving import run

    project = Project.find()
    registry = Registry.open(project)
    found = registry.find(version)
    bundle = registry.fetch(found)
    settings = run.ServerSettings(
        bundle=bundle.path, state=project.state, limits=project.policy.serving,
        digest=found.digest, version=found.number, commit=found.commit,
        environment="local", source="registry", host=host, port=port, hidden=masks.prepare(project, "local"),
    )  # fmt: skip
    run.run(settings)


@app.command()
def batch(
    source: Annotated[Path, typer.Argument(help="Rows to predict: a .csv, .csv.gz or .parquet, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="Where the answers go: .csv or .parquet.")],
    version: Annotated[str, typer.Option(help="A version number or an alias.")] = "latest",
) -> None:
    """Predict files of rows, however large; run again after a kill, it goes on."""
    from slipway.registry.models import Registry
    from slipway.serving import batch as batches
    from slipway.training.scoring import Scorer

    project = Project.find()
    registry = Registry.open(project)
    found = registry.find(version)
    scorer = Scorer(registry.fetch(found), threads=0)
    with_score = project.policy.serving.return_score
    rows = batches.predict(scorer, source, target, with_score=with_score, say=_say)
    typer.echo(f"{rows:,} rows predicted by version {found.number}, in {target}")


@app.command()
def monitor(
    environment: EnvironmentName,
    since: Annotated[str | None, typer.Option(help="How far back: 7d, 12h, or a date; windows by default.")] = None,
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say only; roll nothing back, delete nothing. `--until` does the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge recent predictions against the champion's reference."""
    from slipway.forge import base
    from slipway.monitoring import run as monitoring
    from slipway.monitoring.quality import QualityState
    from slipway.monitoring.report import report_text
    from slipway.pages.history_page import write_history_page
    from slipway.pages.monitor_page import write_monitor_page
    from slipway.proposals import rollback

    project, start, end = Project.find(), _moment(since), _moment(until, "--until")
    report = monitoring.run(
        project, environment, _bundle_of(project, environment), start, end, dry_run=dry_run or end is not None
    )
    write_monitor_page(report, project.root)
    write_history_page(report, project.root)
    host = base.of(project)
    host.output(verdict=report.verdict.value, finding=report.summary)
    host.output(retrain=report.wants_retraining, widen=report.wants_widening, begin=report.begin)
    host.summarize(f"{environment}: **{report.verdict.value}**, {report.summary}; next: {report.next_step}")
    _print(report, report_text(report), as_json=as_json)
    rule = project.policy.monitor.quality
    is_now = not dry_run and end is None
    if rule and report.quality and report.quality.state is QualityState.BROKEN and is_now:
        _say(rollback.roll_back(project, environment, rule, _say))
    raise typer.Exit(report.exit_code)


@app.command()
def backtest(
    window: Annotated[str, typer.Option(help="How long a window is: 30d.")] = "30d",
    history: Annotated[
        str | None, typer.Option(help="How far back each model learns from: 180d; everything by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show on past data how fast a model ages."""
    from slipway.pages.backtest_page import write_backtest_page
    from slipway.training import backtest as backtesting
    from slipway.training.ageing import backtest_text

    project = Project.find()
    spans = _span(window, "--window"), None if history is None else _span(history, "--history")
    result = backtesting.run(project, *spans, _say)
    write_backtest_page(result, project.root)
    _print(result, backtest_text(result), as_json=as_json)


@app.command()
def trace(
    reference: Annotated[
        str, typer.Argument(help="A prediction's id, a server's address, an environment or a version.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show where a model, a server or a prediction came from."""
    from slipway.evidence import trace as tracing

    facts = tracing.trace(Project.find(), reference)
    _print(facts, tracing.as_text(facts), as_json=as_json)


@app.command()
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

    project, start = Project.find(), _moment(since)
    if environment is None:
        found, where = refused.ingested(project), f"the rows in {project.params.data.source}"
    else:
        environments.path_of(project, environment)
        found, where = refused.recorded(project, environment, start), f"requests to {environment}"
    wider = widening.propose(project, found, where)
    for line in wider.remarks:
        typer.echo(f"not proposed: {line}")
    if wider.proposal is None:
        rest = "none of it can be proposed" if wider.remarks else "contract.py takes every value"
        typer.echo(f"nothing to propose of {where}: {rest}")
        raise typer.Exit(3)
    for line in wider.changes:
        typer.echo(f"{'proposed' if wider.proposal.is_new else 'proposed before'}: {line}")
    _offer(project, wider.proposal)


@app.command()
def retrain(
    finding: Annotated[str | None, typer.Option(help="Why, in a sentence, as the monitor tells it.")] = None,
) -> None:
    """Propose to learn from the newest rows, and have a candidate trained."""
    from slipway.forge import base
    from slipway.proposals import retrain as retraining

    project = Project.find()
    proposal = retraining.propose(project, finding)
    if proposal.is_new and base.of(project).is_connected:
        _offer(project, proposal, workflow="train.yml")
        typer.echo("next: review what it registers; it proposes that for staging when every gate has passed")
        return
    _offer(project, proposal)


@app.command()
def connections() -> None:
    """Show which services can be reached from here, and what the others need."""
    from slipway.forge import base
    from slipway.workspace import connections as connecting

    project = Project.find()
    found = connecting.connections(project)
    for one in found:
        typer.echo(f"{one.name:<12}{'yes' if one.there else 'not yet':<9}{one.how}")
    host = base.of(project)
    host.output(**{one.name: one.there for one in found})
    host.summarize(connecting.as_markdown(found))


@app.command()
def rules(
    apply: Annotated[bool, typer.Option("--apply", help="Make the repository's rules those of the file.")] = False,
) -> None:
    """Check the repository's branch rules against .github/rules.json."""
    from slipway.forge import base

    host = base.of(Project.find())
    for done in host.apply_rules() if apply else []:
        typer.echo(done)
    broken = host.broken_rules()
    for line in broken:
        typer.echo(line)
    if not broken:
        typer.echo(f"the repository's rules are those of {host.rules_file}")
    raise typer.Exit(3 if broken else 0)


@app.command()
def audit() -> None:
    """Check that every pointer resolves."""
    from slipway.evidence import audit as auditing

    findings = auditing.audit(Project.find())
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.holds else 'FAIL'}  {finding.what}")
        if not finding.holds:
            typer.echo(f"      {finding.detail}")
    raise typer.Exit(0 if all(finding.holds for finding in findings) else 3)


@app.command("privacy")
def look_for_personal_data(as_json: AsJson = False) -> None:
    """Look for personal data in the raw data and the prediction logs."""
    from slipway.log import personal

    found = personal.scan(Project.find())
    _print(found, personal.as_text(found), as_json=as_json)
    raise typer.Exit(found.exit_code)


TargetVersion = Annotated[str | None, typer.Option("--to", help="A version of the template; the newest by default.")]
NewAnswers = Annotated[list[str] | None, typer.Option("--answer", help="KEY=VALUE, another answer to a question.")]
Trust = Annotated[bool, typer.Option("--trust", help="Let the template run the scripts in its hooks/.")]


@template_app.command("update")
def update_template(to: TargetVersion = None, answer: NewAnswers = None, trust: Trust = False) -> None:
    """Propose a newer version, for review."""
    from slipway.template import update as template

    project = Project.find()
    update = template.prepare(project.root, to, answer, trust=trust)
    _show(update)
    if proposal := template.propose(update):
        _offer(project, proposal)


@template_app.command("diff")
def diff_template(to: TargetVersion = None, answer: NewAnswers = None, trust: Trust = False) -> None:
    """Show what a newer version would change."""
    from slipway.template import update as template

    update = template.prepare(Project.find().root, to, answer, trust=trust)
    _show(update)
    typer.echo(update.difference, nl=False)
    raise typer.Exit(3 if update.conflicts else 0)


@template_app.command("audit")
def audit_template() -> None:
    """Show where files differ from their version."""
    from slipway.template import update as template

    root = Project.find().root
    differences, rendered = template.audit(root)
    for found in differences:
        what = "missing" if found.is_missing else f"+{found.added} -{found.removed}"
        typer.echo(f"{found.owner:<10}{what:<12}{found.path}")
    poor = [found.path for found in differences if found.owner == "shared" and (found.removed or found.is_missing)]
    if poor:
        typer.echo(f"{len(poor)} shared file{'s'[: len(poor) > 1]} without lines of the template, which show in green:")
        typer.echo(f"      git diff HEAD {rendered[:12]} -- {' '.join(poor)}")
    for path in template.unused(root):
        typer.echo(f"nothing imports {path} any more: git rm {path}")
    away = [found.path for found in differences if found.owner == "platform"]
    if not away:
        typer.echo("the platform is as its version made it")
        return
    typer.echo(f"{len(away)} file{'s'[: len(away) > 1]} of the platform differ from the recorded version")
    typer.echo(f"next: keep them, or take the template's: git restore --source={rendered[:12]} -- {' '.join(away)}")
    raise typer.Exit(3)


app.add_typer(template_app)

policy_app = typer.Typer(
    name="policy",
    help="Add to what policy.yaml demands.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@policy_app.command("add")
def add_to_policy(
    names: Annotated[
        list[str], typer.Argument(help="Blocks of settings; `mlops policy list` has them.", metavar="NAME...")
    ],
) -> None:
    """Add blocks of settings to policy.yaml, with their comments."""
    from slipway.settings import policy_add

    policy_add.add(Project.find(), names)
    typer.echo(f"added to policy.yaml: {', '.join(names)}")
    typer.echo("next: set its numbers there, and have the change reviewed")


@policy_app.command("list")
def list_policy() -> None:
    """Show what policy.yaml can hold, and what it holds."""
    from slipway.settings import policy_add

    for block, is_there in policy_add.listed(Project.find()):
        typer.echo(f"{block.name:<17}{'yes' if is_there else '-':<5}{block.line}")


app.add_typer(policy_app)


def _show(update: template.Update) -> None:
    """Say what a project will see of an update."""
    if update.changes_nothing:
        typer.echo(f"nothing changes: this project is at {update.target}")
        return
    _say(f"{update.current} to {update.target}: what your project will see\n\n{update.news or 'no entry'}\n")
    for path in update.both_changed:
        _say(f"merged with your changes: {path}")
    for path in update.conflicts:
        _say(f"in conflict with your changes: {path}")


def _print(facts: Any, text: str, *, as_json: bool) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode() if as_json else text)


_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def _span(text: str, option: str) -> timedelta:
    try:
        span = timedelta(**{_UNITS[text[-1:]]: float(text[:-1])})
    except (KeyError, ValueError, OverflowError):
        span = timedelta(0)
    if span <= timedelta(0):
        raise MlopsError(f"{option} {text} is no span of time", "write 30d or 12h", exit_code=2)
    return span


def _moment(since: str | None, option: str = "--since") -> datetime | None:
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


def _bundle_of(project: Project, environment: str) -> Any:
    from slipway.delivery import environments
    from slipway.registry.models import bundle_of

    release = environments.champion(project, environment)
    return bundle_of(project, release.version, release.digest)


# A project with containers has more commands than one without.
containers.add_to(app)
