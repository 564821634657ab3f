"""Commands that judge what was answered."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.common import AsJson, EnvironmentName, Until, champion_bundle, moment_of, print_facts, say
from slipway.settings.project import Project


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
    from datetime import UTC, datetime

    from slipway.forge import hosting
    from slipway.monitoring import run as monitoring
    from slipway.monitoring.quality import QualityState
    from slipway.monitoring.report import report_text
    from slipway.pages import published
    from slipway.pages.history_page import write_history_page
    from slipway.pages.monitor_page import write_monitor_page
    from slipway.proposals import rollback

    project, start, end = Project.find(), moment_of(since), moment_of(until, "--until")
    bucket = published.bucket_of(project)
    report = monitoring.run(
        project, environment, champion_bundle(project, environment), start, end, dry_run=dry_run or end is not None
    )
    write_monitor_page(report, project.root)
    write_history_page(report, project.root)
    host = hosting.of(project)
    host.output(verdict=report.verdict.value, finding=report.summary)
    host.output(retrain=report.wants_retraining, widen=report.wants_widening, begin=report.begin)
    host.summarize(f"{environment}: **{report.verdict.value}**, {report.summary}; next: {report.next_step}")
    print_facts(report, report_text(report), as_json=as_json)
    rule = project.policy.monitor.quality
    is_now = not dry_run and end is None
    if rule and report.quality and report.quality.state is QualityState.BROKEN and is_now:
        say(rollback.roll_back(project, environment, rule, say))
    if bucket and is_now:
        say(f"kept at {published.publish(project, bucket, report, datetime.now(UTC))}")
    raise typer.Exit(report.exit_code)
