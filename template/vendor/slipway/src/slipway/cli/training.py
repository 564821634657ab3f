"""Commands that run the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli.common import AsJson, offer_training, print_facts, say, span_of
from slipway.settings.project import Project

if TYPE_CHECKING:
    from slipway.training.search_result import BestParameters


def snapshot() -> None:
    """Take raw data anew from the query or bucket that params.yaml names."""
    from slipway.data import snapshots

    project = Project.find()
    made = snapshots.take(project, say)
    where = project.params.data.delivered
    if not made.is_new:
        typer.echo(f"nothing has changed: {where} is as taken from {made.record}")
        return
    typer.echo(f"{where}: {made.record}")
    typer.echo(f"next: commit {where}.dvc with the .gitignore beside it, then: uv run mlops pipeline")


def pipeline(
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
    commit: Annotated[bool, typer.Option("--commit", help="Commit what it made, as a job does.")] = False,
    against: Annotated[str, typer.Option(help="A branch or commit to compare the metrics with.")] = "HEAD",
    where_possible: Annotated[
        bool, typer.Option("--where-possible", help="Without the data, run on the sample in Git, or say so and pass.")
    ] = False,
) -> None:
    """Run the stages whose inputs have changed, and judge the model."""
    from slipway.data import raw
    from slipway.forge import hosting
    from slipway.pages.evaluation_page import write_evaluation_page
    from slipway.training import pipeline as pipelines
    from slipway.training.gates import as_markdown, costs_in_words, require_passed

    project = Project.find()
    if where_possible and (reason := raw.out_of_reach(project)):
        _without_data(project, reason, is_candidate=commit)
        return
    checks = pipelines.run(project, force, say)
    for check in checks:
        typer.echo(f"{'pass' if check.passed else 'FAIL'}  {check}")
    if costs := costs_in_words(project):
        typer.echo(costs)
    typer.echo(f"page: {write_evaluation_page(project, checks)}")
    text = as_markdown(project, checks, against)
    host = hosting.of(project)
    host.summarize(text)
    host.output(summary=text)
    require_passed(checks, "the model")
    if commit:
        made = pipelines.commit(project)
        typer.echo(f"committed as {made[:12]}" if made else "nothing to commit: dvc.lock and reports are as they were")
        return
    typer.echo("next: commit dvc.lock and reports, then: uv run mlops register")


def _without_data(project: Project, reason: str, *, is_candidate: bool) -> None:
    """Do what can be done without the data, and say what that is worth; a candidate is never made of a sample."""
    from slipway.data import raw
    from slipway.forge import hosting
    from slipway.training import pipeline as pipelines
    from slipway.training.gates import sample_markdown

    sample = None if is_candidate else raw.sample(project)
    if sample:
        pipelines.rehearse(project, sample)
        text = (
            f"No data here: {reason}. The stages ran on the sample {sample} instead, which shows that they work; "
            f"no gate judges its figures.\n\n{sample_markdown(project, sample)}"
        )
    else:
        more = "" if is_candidate else " A sample in Git, named by `data.sample` in params.yaml, would be trained on."
        text = f"No data here: {reason}. Nothing was trained.{more} See docs/ci.md."
    typer.echo(text)
    host = hosting.of(project)
    host.summarize(text)
    host.output(summary=text)


def stage(
    name: Annotated[str, typer.Argument(help="One of those in dvc.yaml: ingest, validate …")],
) -> None:
    """Run one stage of the pipeline alone, untracked."""
    from slipway.data.stages import IN_PARTS, run_stage
    from slipway.training import engines

    project = Project.find()
    if name not in IN_PARTS:
        run_stage(project, name)
        return
    with engines.opened(project, say) as engine:
        run_stage(project, name, engine)


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
    spans = span_of(window, "--window"), None if history is None else span_of(history, "--history")
    result = backtesting.run(project, *spans, say)
    write_backtest_page(result, project.root)
    print_facts(result, backtest_text(result), as_json=as_json)


def search(
    trials: Annotated[int | None, typer.Option(min=1, help="How many in all; by default as params.yaml says.")] = None,
    minutes: Annotated[float | None, typer.Option(help="End this start after so long; whichever comes first.")] = None,
) -> None:
    """Look for better parameters, and propose them; ended or killed, it goes on when started again."""
    from slipway.pages.search_page import write_search_page
    from slipway.training import search as searching
    from slipway.training.search_result import search_text
    from slipway.training.study import require_optuna

    project = Project.find()
    if minutes is not None and not minutes > 0:
        raise MlopsError(f"--minutes {minutes:g} is no span of time", "write a number above 0", exit_code=2)
    searching.require_asked(project)
    require_optuna()
    _warn_of_no_proposal(project)
    result = searching.run(project, trials, minutes, say)
    write_search_page(result, project.root)
    typer.echo(search_text(result))
    _propose(project, result)


def candidates(
    metric: Annotated[
        str | None, typer.Option(help="One that has a gate; by default that of the search, or else the first.")
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Make a version of each, of a commit of its own, and propose nothing.")
    ] = False,
    push: Annotated[bool, typer.Option("--push", help="With --register: send their commits to origin.")] = False,
) -> None:
    """Compare the models that params.yaml names as candidates, and propose the best or register each."""
    from slipway.pages.candidates_page import write_candidates_page
    from slipway.registry import candidates as registering
    from slipway.training import candidates as comparing
    from slipway.training.candidates_result import candidates_text

    project = Project.find()
    comparing.require_candidates(project, metric)
    if register:
        registering.require_registrable(project, push=push)
    elif push:
        raise MlopsError("--push sends what --register makes", "mlops candidates --register --push", exit_code=2)
    else:
        _warn_of_no_proposal(project)
    result = comparing.run(project, metric, say)
    write_candidates_page(result, project.root)
    typer.echo(candidates_text(result))
    if not register:
        _propose(project, result)
        return
    outcomes = registering.register(project, result, say, push=push)
    typer.echo("\n" + "\n".join(registering.outcomes_text(outcomes, result.metric)))
    registering.require_all(outcomes)
    typer.echo("next: uv run mlops challenge staging --version N, or promote, with one of these")


def _warn_of_no_proposal(project: Project) -> None:
    from slipway.proposals import better

    try:
        better.require_proposable(project)
    except MlopsError as error:
        say(f"mind: what is found will be shown and not proposed: {error.problem}")


def _propose(project: Project, result: BestParameters) -> None:
    """Propose what is better; where nothing is, the answer is no."""
    from slipway.proposals import better

    if not result.changes:
        raise typer.Exit(3)
    offer_training(project, better.propose_better(project, result))
