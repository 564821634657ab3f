"""Champion and challenger on real requests: what the prediction log and the labels say, up to a verdict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
import polars as pl
import yaml

from slipway.base.errors import MlopsError
from slipway.base.numbers import shown
from slipway.data import labels
from slipway.data.labels import IS_DUE, TRUTH
from slipway.delivery import environments
from slipway.experiment import statistics
from slipway.experiment.samples import by_time, measured_by, sample_of, too_few_labels
from slipway.experiment.statistics import Conclusion, Decision, MetricFunction, Sample
from slipway.forge import git
from slipway.forge.proposals import Proposal
from slipway.log import masks, predictions
from slipway.registry.models import bundle_of
from slipway.serving import latency
from slipway.settings.environment import Challenger
from slipway.settings.policy import ExperimentPolicy, LabelPolicy
from slipway.settings.project import Project

T = TypeVar("T")
#: The same thing of the champion and of the challenger.
Both = tuple[T, T]

#: The other version's score, beside a column of any name.
_OTHER = "(other)"
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

    `low` and `high` bound the gain at all looks together.
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
    known = labels.read(project, where)
    mask = masks.mask_of(project, name)
    log = predictions.read(project, name, since, until, with_shadow=True, mask=mask)
    log = labels.join(log, known, where, until, mask)
    logs = _of(log, "champion", champion.digest), _of(log, _ROLES[tried.mode], tried.digest)
    measures = (
        measured_by(bundle_of(project, champion.version, champion.digest)[0].model, rule.metric),
        measured_by(bundle_of(project, tried.version, tried.digest)[0].model, rule.metric),
    )
    by_key = tried.key if tried.mode == "canary" and tried.key in log.columns else None
    blocks = _by_key(by_key) if by_key else by_time(log, rule.block_hours)
    samples = _samples(logs, measures, tried, blocks)
    found = _gain(project, rule, samples)
    days = (until - since) / timedelta(days=1) - where.delay_days
    verdict = statistics.settle(found, min(map(len, samples)), rule, days=days, unfit=_unfit(logs, where))
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
        slices=_slices(project, logs, measures),
        speeds=_speeds(project, name, champion.version, tried.version, until),
        remarks=remarks + known.remarks + _unpaired(logs, samples, tried),
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


def comparison_text(compared: LiveComparison) -> str:
    """Write a comparison for a terminal: the answer last."""
    verdict, rule = compared.verdict, compared.rule
    begun = f"{compared.environment}, {compared.mode} since {compared.since:%Y-%m-%d %H:%M}"
    gained = "not known" if compared.gain is None else f"{compared.gain:+.4f}"
    bounds = "" if compared.low is None else f", between {compared.low:+.4f} and {compared.high:+.4f} at all looks"
    blocks = [
        [f"{begun}, commit {compared.began_with[:12]}, known at {compared.until:%Y-%m-%d %H:%M}"],
        [f"{'':24}  predictions      due  labelled  {rule.metric:>9}", *map(_arm_line, compared.arms)],
        [f"gain {gained}{bounds}; from {rule.smallest_gain:g} on it matters"],
        _slice_lines(compared.slices),
        [*_speed_lines(compared), *compared.remarks],
        [f"{verdict.decision.value}: {verdict.reason}", f"next: {compared.next_step}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


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
    logs: Both[pl.DataFrame], measures: Both[MetricFunction], tried: Challenger, blocks: pl.Expr
) -> Both[Sample]:
    """The rows to measure: of a shadow the pairs, so that both versions answered the same requests."""
    champion, challenger = logs
    if tried.mode == "canary":
        return sample_of(champion, measures[0], blocks), sample_of(challenger, measures[1], blocks)
    scores = challenger.unique("id", keep="first").select("id", pl.col("score").alias(_OTHER))
    pairs = champion.unique("id", keep="first", maintain_order=True).join(scores, on="id", maintain_order="left")
    return sample_of(pairs, measures[0], blocks), sample_of(pairs.with_columns(score=_OTHER), measures[1], blocks)


def _by_key(key: str) -> pl.Expr:
    """All rows of one routing key are in one block: they were all answered by one version."""
    return pl.col(key).hash() % statistics.MOST_BLOCKS


def _unpaired(logs: Both[pl.DataFrame], samples: Both[Sample], tried: Challenger) -> list[str]:
    if tried.mode == "canary":
        return []
    left_out = max(log[TRUTH].count() for log in logs) - len(samples[0])
    return [f"{left_out:,} labelled predictions have no counterpart and are left out"] if left_out else []


def _gain(project: Project, rule: ExperimentPolicy, samples: Both[Sample]) -> statistics.Estimate | None:
    found = statistics.difference(*samples)
    sign = project.policy.gates.metrics[rule.metric].sign
    return statistics.Estimate(sign * found.value, found.error) if found else None


def _unfit(logs: Both[pl.DataFrame], rule: LabelPolicy) -> str:
    return next(filter(None, (too_few_labels(log, rule) for log in logs)), "")


def _arm(role: str, version: int, log: pl.DataFrame, sample: Sample, rule: ExperimentPolicy) -> Arm:
    found = statistics.estimate(sample)
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
        first, second = (
            {value: part for (value,), part in log.filter(pl.col(TRUTH).is_not_null()).group_by(column)} for log in logs
        )
        for value in sorted(first.keys() & second.keys(), key=str):
            parts = first[value], second[value]
            if min(part.height for part in parts) >= min_rows:
                figures = [
                    m(part[TRUTH].to_numpy(), part["score"].to_numpy()) for m, part in zip(measures, parts, strict=True)
                ]
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


def _speed_lines(compared: LiveComparison) -> list[str]:
    if compared.speeds is None:
        return ["times and failures are not known: they are those of a running server, now"]
    lines = [f"{'since the server started':24}  answered  half within  99 % within  failed"]
    for arm, speed in zip(compared.arms, compared.speeds, strict=True):
        half, nearly_all = (f"{time * 1000:.2f} ms" if time is not None else "-" for time in (speed.p50, speed.p99))
        name = f"{arm.role} v{arm.version}"
        lines.append(f"{name:24}  {speed.answered:8,}  {half:>11}  {nearly_all:>11}  {speed.failed:6,}")
    return lines


def _arm_line(arm: Arm) -> str:
    share = f" ({arm.labelled / arm.due:.0%})" if arm.due else ""
    figure = "-"
    if arm.value is not None and arm.low is not None and arm.high is not None:
        figure = f"{shown(arm.value)}, {shown(arm.low)} to {shown(arm.high)} at one look"
    name = f"{arm.role} v{arm.version}"
    return f"{name:24}  {arm.predictions:11,}  {arm.due:7,}  {arm.labelled:8,}{share}  {figure}"


def _slice_lines(slices: list[Slice]) -> list[str]:
    """The groups as they are; with many of them one looks bad by chance, so they decide nothing."""
    return [
        f"{f'{one.column} = {one.value}':24}  {_shown(one.champion)}  {_shown(one.challenger)}"
        f"  {one.rows[0]:,} and {one.rows[1]:,} rows"
        for one in slices
    ]


def _shown(figure: float | None) -> str:
    return f"{'-':>9}" if figure is None else f"{figure:9.4f}"
