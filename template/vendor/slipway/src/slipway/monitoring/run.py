"""Run the monitor: judge recent predictions of an environment against its champion's reference."""

from __future__ import annotations

from datetime import UTC, datetime

from slipway.data.labels import IsElsewhere
from slipway.log import masks, predictions
from slipway.log.counts import answered_of
from slipway.monitoring import checks, concept, domain, estimate, quality, reading, refused, skew
from slipway.monitoring.calibration import Calibration, calibration
from slipway.monitoring.judge import inputs_of, judge_log
from slipway.monitoring.kept import History
from slipway.monitoring.reading import Reading
from slipway.monitoring.report import Report, report_of
from slipway.monitoring.windows import Window, WindowJudge, judge_windows
from slipway.settings.project import Project
from slipway.training.bundle import Bundle
from slipway.training.team_code import require_classes


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
    require_classes(bundle.model, f"the champion of {environment}")
    now, policy, hidden = until or datetime.now(UTC), project.policy, project.policy.privacy.hidden
    deleted = 0
    if policy.privacy.keep_days is not None and not dry_run:
        deleted = predictions.forget(project, environment, policy.privacy.keep_days, datetime.now(UTC))
    found = reading.read(project, environment, since, now)
    tested = calibration(project, bundle) if policy.labels else None
    windows, labelled = ([], None) if since else _windows(found, bundle, tested)
    start = windows[-1].since if windows else since
    log, latest = found.log, found.latest(start)
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
        refused=refused.describe(
            refused.recorded(project, environment, start), answered_of(latest, found.counts.one_in)
        ),
        skew=skew.replay(bundle, latest, hidden),
        quality=quality.measure(project, environment, bundle, log if since else found.for_quality(bundle.digest), now),
        labels=found.labels(labelled, is_whole=since is None),
        logged=found.counts,
        deleted=deleted,
    )
    return report_of(context, checks.installed())


def _windows(found: Reading, bundle: Bundle, tested: Calibration | None) -> tuple[list[Window], IsElsewhere | None]:
    """Every window, the oldest first, and what knows which labels are of those that were not read."""
    project, rule, keep_days = (
        found.project,
        found.project.policy.monitor.windows,
        found.project.policy.privacy.keep_days,
    )
    latest = judge_windows(project, bundle, found.log, found.now, rule, tested, found.begin, found.counts.one_in)
    if found.begin is None:
        return latest, None
    history = History(
        project=project,
        environment=found.environment,
        judge=WindowJudge(project, bundle, rule, found.now, tested),
        calibration=tested,
        champion=bundle.digest,
        log=found.files,
        until=found.begin,
        known=found.known,
        mask=found.mask,
        forgotten=None if keep_days is None else predictions.forgotten(keep_days, datetime.now(UTC)),
    )
    return [*history.windows(), *latest], history.holds
