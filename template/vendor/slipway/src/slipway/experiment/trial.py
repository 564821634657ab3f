"""Champion and challenger on real requests: what the prediction log and the labels say, up to a verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import yaml

from slipway.base.errors import MlopsError
from slipway.data import labels
from slipway.data.labels import IS_DUE, TRUTH
from slipway.delivery import environments
from slipway.experiment import routing, statistics
from slipway.experiment.samples import Both, by_time, measured_by, sample_of, too_few_labels, unlike_labels
from slipway.experiment.statistics import Conclusion, Decision, Estimate, MetricFunction, Sample
from slipway.forge import git
from slipway.forge.proposals import Proposal
from slipway.log import masks, predictions
from slipway.registry.models import bundle_of
from slipway.serving import latency
from slipway.settings.environment import Challenger
from slipway.settings.policy import ExperimentPolicy, LabelPolicy
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training.score_columns import names_in, scores_in
from slipway.training.team_code import require_classes

#: The other version's scores, beside columns of any name.
_OTHER = "(other) "
#: Stretches that count as fewer than this share of them are told.
_TELLING = 0.75
_ROLES = {"canary": "challenger", "shadow": "shadow"}
_NEXT_STEPS = {
    Decision.PROMOTE: "mlops decide {name}",
    Decision.KEEP: "mlops decide {name}",
    Decision.STOP: "mlops decide {name}",
    Decision.WAIT: "look again when there are more labels",
}


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What one version did: predictions, those old enough to have a label, those that have one, and its metric.

    `low` and `high` bound the metric for a reader who looks once; nothing is decided by them.
    """

    role: str
    version: int
    predictions: int
    due: int
    labelled: int
    value: float | None
    low: float | None
    high: float | None


class Slice(msgspec.Struct, frozen=True):
    """The metric of both versions in one group of rows: to be looked at, nothing is decided by it."""

    column: str
    value: str
    rows: tuple[int, int]
    champion: float | None
    challenger: float | None


class LiveComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both versions of an environment; `gain` is positive where the challenger is better.

    `low` and `high` bound the gain at all looks together. It comes from so many `stretches` of time, which may be like
    their neighbours by an `autocorrelation` and therefore count as `effective` ones.
    """

    environment: str
    mode: str
    metric: str
    since: datetime
    until: datetime
    began_with: str
    rule: ExperimentPolicy
    arms: tuple[Arm, Arm]
    gain: float | None
    low: float | None
    high: float | None
    stretches: int | None
    effective: float | None
    autocorrelation: float | None
    slices: list[Slice]
    speeds: tuple[latency.Speed, latency.Speed] | None
    remarks: list[str]
    verdict: Conclusion
    next_step: str


def compare_live(project: Project, name: str, until: datetime) -> LiveComparison:
    """Compare an environment's challenger with its champion, as it was known at a time."""
    environments.require_committed(project, name)
    champion, tried = environments.champion(project, name), environments.challenger(project, name)
    if champion.digest == tried.digest:
        raise MlopsError(
            f"champion and challenger of {name} are the same version, {champion.version}", "put another one on trial"
        )
    commit, since = environments.trial_since(project, name)
    rule, remarks = _rule(project, commit)
    where = labels.rule_of(project)
    mask = masks.mask_of(project, name)
    known = labels.read(project, where, name, mask)
    log = predictions.read(project, name, since, until, with_shadow=True, mask=mask)
    log = labels.join(log, known, where, until)
    logs = _of(log, "champion", champion.digest), _of(log, _ROLES[tried.mode], tried.digest)
    models = [bundle_of(project, one.version, one.digest)[0].model for one in (champion, tried)]
    for one, model in zip((champion, tried), models, strict=True):
        require_classes(model, f"version {one.version}")
    measures = measured_by(models[0], rule.metric), measured_by(models[1], rule.metric)
    clusters = _clusters(logs, tried)
    blocks = by_time(log, rule.block_hours)
    samples = _samples(logs, measures, tried, blocks, clusters)
    found = _gain(project, rule, samples, tried)
    days = (until - since) / timedelta(days=1) - where.delay_days
    verdict = statistics.settle(found, min(map(len, samples)), rule, days=days, unfit=_unfit(logs, where, blocks))
    low, high = found.interval(statistics.radius_of(found, rule)) if found else (None, None)
    return LiveComparison(
        environment=name,
        mode=tried.mode,
        metric=rule.metric,
        since=since,
        until=until,
        began_with=commit,
        rule=rule,
        arms=(
            _arm("champion", champion.version, logs[0], samples[0], rule),
            _arm(tried.mode, tried.version, logs[1], samples[1], rule),
        ),
        gain=found.value if found else None,
        low=low,
        high=high,
        stretches=found.stretches if found else None,
        effective=found.effective if found else None,
        autocorrelation=found.autocorrelation if found else None,
        slices=_slices(project, logs, measures),
        speeds=_speeds(project, name, champion.version, tried.version, until),
        remarks=[
            *remarks,
            *known.remarks,
            *_unpaired(logs, samples, tried),
            *_divided(clusters, tried),
            *_alike(found, rule),
        ],
        verdict=verdict,
        next_step=_NEXT_STEPS[verdict.decision].format(name=name),
    )


def decide(project: Project, name: str, until: datetime) -> tuple[Proposal | None, LiveComparison]:
    """Propose what the verdict means for the environment's file; there is no proposal while it is to wait."""
    compared = compare_live(project, name, until)
    verdict = compared.verdict
    if verdict.decision is Decision.WAIT:
        return None, compared
    promote = verdict.decision is Decision.PROMOTE
    return environments.end_trial(project, name, verdict.reason, promote=promote), compared


def _rule(project: Project, commit: str) -> tuple[ExperimentPolicy, list[str]]:
    """The rule as it was when the trial began: nobody can choose it after seeing the figures."""
    then = yaml.safe_load(git.at_commit(project.root, commit, "policy.yaml") or "") or {}
    if not then.get("experiment"):
        raise MlopsError(
            f"policy.yaml had no `experiment` when this trial began, in commit {commit[:12]}",
            "mlops policy add experiment, commit it, end this trial and begin another",
        )
    rule = msgspec.convert(then["experiment"], ExperimentPolicy)
    now = yaml.safe_load((project.root / "policy.yaml").read_bytes())
    remarks = []
    if then["experiment"] != now.get("experiment"):
        remarks.append("mind: `experiment` in policy.yaml was changed after this trial began; the earlier one holds")
    if then.get("labels") != now.get("labels"):
        remarks.append("mind: `labels` in policy.yaml was changed after this trial began")
    return rule, remarks


def _of(log: pl.DataFrame, role: str, digest: str) -> pl.DataFrame:
    return log.filter((pl.col("role") == role) & (pl.col("digest") == digest))


def _samples(
    logs: Both[pl.DataFrame],
    measures: Both[MetricFunction],
    tried: Challenger,
    blocks: pl.Expr,
    clusters: dict[str, pl.Expr],
) -> Both[Sample]:
    """The rows to measure: of a shadow the pairs, so that both versions answered the same requests."""
    champion, challenger = logs
    parts = [by.hash() % statistics.MOST_BLOCKS for by in clusters.values()]
    if tried.mode == "canary":
        return sample_of(champion, measures[0], blocks, parts), sample_of(challenger, measures[1], blocks, parts)
    held = names_in(challenger)
    scores = challenger.unique("id", keep="first").select("id", pl.col(held).name.prefix(_OTHER))
    pairs = champion.unique("id", keep="first", maintain_order=True).join(scores, on="id", maintain_order="left")
    theirs = pairs.with_columns(pl.col(_OTHER + name).alias(name) for name in held)
    return sample_of(pairs, measures[0], blocks), sample_of(theirs, measures[1], blocks)


def _clusters(logs: Both[pl.DataFrame], tried: Challenger) -> dict[str, pl.Expr]:
    """What of a canary's rows was all answered by one version: by the trial's key, or as the log itself shows."""
    if tried.mode != "canary":
        return {}
    if tried.key in logs[0].columns:
        return {tried.key: pl.col(tried.key)}
    return routing.always_the_same(*logs, CONTRACT)


def _divided(clusters: dict[str, pl.Expr], tried: Challenger) -> list[str]:
    """Say what the log shows of a division that the trial does not name."""
    return [
        f"mind: requests with the same {name} met the same version, though the trial has no such key; they count "
        "together, and a trial by `key` says so from its first request on"
        for name in clusters
        if name != tried.key
    ]


def _alike(found: Estimate | None, rule: ExperimentPolicy) -> list[str]:
    """Say that stretches of time may be like their neighbours, and as how many they therefore count."""
    if found is None or found.effective > found.stretches * _TELLING:
        return []
    return [
        f"{found.stretches} stretches of {rule.block_hours:g} hours may be like their neighbours (autocorrelation "
        f"{found.autocorrelation:.2f}, as far as they tell it): they count as {found.effective:.1f} that are not"
    ]


def _unpaired(logs: Both[pl.DataFrame], samples: Both[Sample], tried: Challenger) -> list[str]:
    if tried.mode == "canary":
        return []
    left_out = max(log[TRUTH].count() for log in logs) - len(samples[0])
    return [f"{left_out:,} labelled predictions have no counterpart and are left out"] if left_out else []


def _gain(project: Project, rule: ExperimentPolicy, samples: Both[Sample], tried: Challenger) -> Estimate | None:
    found = statistics.difference(*samples, paired=tried.mode == "shadow")
    sign = project.policy.gates.metrics[rule.metric].sign
    return msgspec.structs.replace(found, value=sign * found.value) if found else None


def _unfit(logs: Both[pl.DataFrame], rule: LabelPolicy, blocks: pl.Expr) -> str:
    few = (too_few_labels(log, rule) for log in logs)
    return next(filter(None, few), "") or unlike_labels(*logs, blocks)


def _arm(role: str, version: int, log: pl.DataFrame, sample: Sample, rule: ExperimentPolicy) -> Arm:
    found = statistics.estimate(replace(sample, blocks=sample.clusters[0]) if sample.clusters else sample)
    low, high = found.for_one_look(rule.alpha) if found else (None, None)
    return Arm(
        role=role,
        version=version,
        predictions=log.height,
        due=int(log[IS_DUE].sum()),
        labelled=log[TRUTH].count(),
        value=found.value if found else None,
        low=low,
        high=high,
    )


def _slices(project: Project, logs: Both[pl.DataFrame], measures: Both[MetricFunction]) -> list[Slice]:
    """The groups that the gates look at, where both versions have enough labelled rows."""
    found = []
    for column, min_rows in project.policy.gates.groups.items():
        if column not in logs[0].columns:  # of what happened, which a log does not hold
            continue
        first, second = (
            {value: part for (value,), part in log.filter(pl.col(TRUTH).is_not_null()).group_by(column)} for log in logs
        )
        for value in sorted(first.keys() & second.keys(), key=str):
            parts = first[value], second[value]
            if min(part.height for part in parts) >= min_rows:
                figures = [m(part[TRUTH].to_numpy(), scores_in(part)) for m, part in zip(measures, parts, strict=True)]
                rows = parts[0].height, parts[1].height
                found.append(Slice(column, str(value), rows, *figures))
    return found


def _speeds(
    project: Project, name: str, champion: int, challenger: int, until: datetime
) -> tuple[latency.Speed, latency.Speed] | None:
    """Times and failures are counted and not logged, so they are known of now and of no earlier day."""
    if datetime.now(UTC) - until > timedelta(minutes=1):
        return None
    return latency.speeds(environments.load(project, name).serve, champion, challenger)
