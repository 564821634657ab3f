"""Run the monitor: judge recent predictions of an environment against its champion's reference."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from slipway.data import labels
from slipway.log import masks, predictions
from slipway.monitoring import checks, concept, domain, estimate, quality, refused, skew
from slipway.monitoring.calibration import calibration
from slipway.monitoring.judge import inputs_of, judge_log
from slipway.monitoring.report import Report, report_of
from slipway.monitoring.windows import judge_windows
from slipway.settings.project import Project
from slipway.training.bundle import Bundle


def run(
    project: Project,
    environment: str,
    bundle: Bundle,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    dry_run: bool = False,
) -> Report:
    """Judge what the prediction log of an environment holds.

    With `since`, everything from then on is judged together; without, the latest window is, beside the others.
    What is older than the policy keeps it is deleted first, but not in a dry run. `until` shows what was known
    then; both times know their zone.
    """
    masks.require_known(project)
    now, policy, hidden = until or datetime.now(UTC), project.policy, project.policy.privacy.hidden
    deleted = 0
    if policy.privacy.keep_days is not None and not dry_run:
        deleted = predictions.forget(project, environment, policy.privacy.keep_days, datetime.now(UTC))
    mask = masks.mask_of(project, environment)
    found = predictions.read_counted(project, environment, since, now, mask=mask)
    log, told = labels.attach(project, found.frame, now, mask, is_whole=since is None)
    tested = calibration(project, bundle) if policy.labels else None
    windows = [] if since else judge_windows(project, bundle, log, now, policy.monitor.windows, tested)
    start = windows[-1].since if windows else since
    latest = log.filter(pl.col("at") >= windows[-1].since) if windows else log
    context = checks.CheckContext(
        environment=environment,
        bundle=bundle,
        log=log,
        limits=policy.monitor,
        judged=judge_log(bundle, latest, policy.monitor, hidden=hidden),
        now=now,
        start=start,
        windows=windows,
        domain=domain.measure(inputs_of(bundle, latest, policy.monitor, hidden=hidden), policy.monitor),
        concept=concept.measure(bundle, log, policy, None if since else now, tested),
        estimate=estimate.measure(project, bundle, latest, log, None if since else now, tested),
        refused=refused.describe(refused.recorded(project, environment, start), latest.height),
        skew=skew.replay(bundle, latest, hidden),
        quality=quality.measure(project, environment, bundle, log, now),
        labels=told,
        logged=found.counts,
        deleted=deleted,
    )
    return report_of(context, checks.installed())
