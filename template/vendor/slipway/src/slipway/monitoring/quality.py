"""Is the champion still as good as it was? Judged by the labels that have arrived."""

from __future__ import annotations

from enum import Enum

import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.base.numbers import shown
from slipway.data import labels
from slipway.delivery import environments
from slipway.experiment import samples, statistics
from slipway.experiment.statistics import Estimate
from slipway.settings.policy import QualityPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle


class QualityState(Enum):
    """What is known of the champion's quality."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """The champion's metric on its labelled predictions, against its limit."""

    state: QualityState
    sentence: str
    metric: str
    value: float | None
    limit: float
    labelled: int
    remarks: list[str]


def measure(project: Project, name: str, bundle: Bundle, log: pl.DataFrame, remarks: list[str]) -> Quality | None:
    """Measure what the champion has answered since it was named; `None` when the policy has no rule for that.

    `log` knows what happened, and `remarks` say what was wrong with its labels.
    """
    policy = project.policy.monitor
    rule = policy.quality
    if rule is None:
        return None
    where = labels.rule_of(project)
    named = environments.champion_since(project, name)
    own = log.filter((pl.col("digest") == bundle.digest) & (pl.col("at") >= named))
    by_day = samples.by_time(own, hours=24)
    sample = samples.sample_of(own, samples.measured_by(bundle.model, rule.metric), by_day)
    found, sign = statistics.estimate(sample), project.policy.gates.metrics[rule.metric].sign
    limit = _limit(rule, bundle, sign)
    unfit = samples.too_few_labels(own, where)
    state, sentence = assess(found, len(sample), rule, policy.p_value, limit=limit, sign=sign, unfit=unfit)
    return Quality(
        state=state,
        sentence=sentence,
        metric=rule.metric,
        value=found.value if found else None,
        limit=limit,
        labelled=len(sample),
        remarks=remarks,
    )


def assess(
    found: Estimate | None,
    labelled: int,
    rule: QualityPolicy,
    alpha: float,
    *,
    limit: float,
    sign: int,
    unfit: str = "",
) -> tuple[QualityState, str]:
    """Hold the champion's metric, seen on labelled rows, against its limit; whatever is uncertain is unknown.

    `sign` is 1 for a metric that is better when higher, -1 for the others. Broken means that even the better
    end of an interval, which holds at all looks together with a chance of 1 - `alpha`, is worse than the limit.
    """
    if unfit:
        return QualityState.UNKNOWN, unfit
    if found is None or labelled < rule.min_rows:
        return (
            QualityState.UNKNOWN,
            f"{labelled:,} labelled predictions by the champion, at least {rule.min_rows:,} are needed",
        )
    sentence = (
        f"{rule.metric} is {shown(found.value)} on {labelled:,} labelled predictions, the limit is {shown(limit)}"
    )
    worse_by = sign * (limit - found.value)
    if worse_by <= 0:
        return QualityState.OK, sentence
    width = statistics.radius(found.error, effect=rule.drop or worse_by, alpha=alpha)
    if worse_by <= width:
        return QualityState.UNKNOWN, f"{sentence}, and chance may explain that"
    return QualityState.BROKEN, sentence


def _limit(rule: QualityPolicy, bundle: Bundle, sign: int) -> float:
    if rule.limit is not None or rule.drop is None:
        return rule.limit or 0.0
    tested = bundle.metrics["model"].get(rule.metric)
    if tested is None:
        raise MlopsError(
            f"this champion was never measured by {rule.metric}, so no drop of it can be seen",
            "set monitor.quality.limit in policy.yaml, or another metric",
        )
    return float(tested - sign * rule.drop)
