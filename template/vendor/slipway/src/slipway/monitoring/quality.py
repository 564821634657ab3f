"""Is the champion still as good as it was? Judged by the labels that have arrived.

A mean of all since it was named would take longer to move the longer the champion has been good. So the metric is
looked at over stretches of several lengths that end now, from a week to sixteen weeks: what has become much worse shows
in the short ones, what is a little worse in the long ones (a scan over windows, as in A. Tartakovsky, I. Nikiforov
and M. Basseville, "Sequential Analysis", 2014, 8.2). Each is tested by Student's distribution with a jackknife over
days (H. R. Künsch, Annals of Statistics 17(3), 1989), and all of them together, on each day of a quarter, are
corrected after Bonferroni: that is the chance of a false alarm in a quarter, however often in a day somebody looks.

Where good days follow good ones, a stretch holds fewer draws than days: n (1 - r) / (1 + r) of them, by the
correlation r of neighbouring days (G. V. Bayley and J. M. Hammersley, "The effective number of independent observations
in an autocorrelated time series", Supplement to the Journal of the Royal Statistical Society 8(2), 1946).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from math import sqrt

import msgspec
import numpy as np
import polars as pl
from scipy.special import stdtr

from slipway.base.errors import MlopsError
from slipway.base.numbers import shown
from slipway.data import labels
from slipway.delivery import environments
from slipway.experiment import samples
from slipway.experiment.statistics import LEAST_BLOCKS, Sample
from slipway.monitoring.contrasts import correlation
from slipway.settings.policy import MonitorPolicy, QualityPolicy
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

#: The lengths in days that are looked at; twice as long ones, and so on, where these hold too few labels.
STRETCHES = (7, 14, 28, 56, 112)
#: What is told of a champion that is well.
USUAL = 28
#: Looks of a quarter, one a day; whoever looks more often sees the same whole days.
LOOKS = 91


class QualityState(Enum):
    """What is known of the champion's quality."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """The metric of the last `days` days with labels.

    `p_value` is the chance of as bad a stretch, of any length on any day of a quarter, for a champion at its limit.
    """

    days: int
    labelled: int
    value: float
    p_value: float


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """The champion's metric on its labelled predictions, against its limit.

    `value` is that of the stretch which decides: `days` days with `labelled` labels. `stretches` are all that were
    looked at, the shortest first.
    """

    state: QualityState
    sentence: str
    metric: str
    value: float | None
    limit: float
    labelled: int
    days: int | None = None
    stretches: list[Stretch] = []


def measure(project: Project, name: str, bundle: Bundle, log: pl.DataFrame, now: datetime) -> Quality | None:
    """Measure what the champion has answered since it was named; `None` when the policy has no rule for that.

    `log` knows what happened. Days count when they are over and their labels are due.
    """
    policy = project.policy.monitor
    rule = policy.quality
    if rule is None:
        return None
    where = labels.rule_of(project)
    named = environments.champion_since(project, name)
    today = (now - timedelta(days=where.delay_days)).astimezone(UTC).date()
    own = log.filter((pl.col("digest") == bundle.digest) & (pl.col("at") >= named) & (pl.col("at").dt.date() < today))
    sample = samples.sample_of(own, samples.measured_by(bundle.model, rule.metric), pl.col("at").dt.epoch("d"))
    sign = project.policy.gates.metrics[rule.metric].sign
    # Where all of its labels are too few, it is all of its predictions that lack one.
    due = own if len(sample) < rule.min_rows else own.filter(pl.col("at").dt.date() >= today - timedelta(days=USUAL))
    return assess(
        sample, policy, limit=limit_of(rule, bundle, sign), sign=sign, unfit=samples.too_few_labels(due, where)
    )


def assess(sample: Sample, policy: MonitorPolicy, *, limit: float, sign: int, unfit: str = "") -> Quality:
    """Hold the champion's metric against its limit; whatever is uncertain is unknown.

    The blocks of the labelled rows are numbers of days. `sign` is 1 for a metric that is better when higher, -1 for
    the others. `unfit` says why the rows must not decide. Broken means that the metric is worse than the limit over
    some stretch, by more than chance explains.
    """
    rule = policy.quality
    if rule is None:
        raise ValueError("no rule for quality")
    found = [] if unfit else [*stretches(sample, rule.min_rows, limit=limit, sign=sign)]
    worst = min(found, key=lambda one: one.p_value, default=None)
    few = f"{len(sample):,} labelled predictions by the champion, at least {rule.min_rows:,} are needed"
    if worst is None:
        short = f"its labels do not decide {rule.metric}; they must be of at least {LEAST_BLOCKS} days"
        sentence = unfit or (few if len(sample) < rule.min_rows else short)
        return Quality(
            state=QualityState.UNKNOWN, sentence=sentence, metric=rule.metric, value=None, limit=limit,
            labelled=len(sample),
        )  # fmt: skip
    is_broken = worst.p_value < policy.p_value
    told = worst if is_broken else next((one for one in found if one.days >= USUAL), found[-1])
    is_worse = sign * (limit - told.value) > 0
    sentence = (
        f"{rule.metric} is {shown(told.value)} on {told.labelled:,} labelled predictions of {told.days} days, "
        f"the limit is {shown(limit)}"
    )
    return Quality(
        state=QualityState.BROKEN if is_broken else QualityState.UNKNOWN if is_worse else QualityState.OK,
        sentence=f"{sentence}, and chance may explain that" if is_worse and not is_broken else sentence,
        metric=rule.metric,
        value=told.value,
        limit=limit,
        labelled=told.labelled,
        days=told.days,
        stretches=found,
    )


def stretches(sample: Sample, min_rows: int, *, limit: float, sign: int) -> Iterator[Stretch]:
    """Measure stretches that end with the last day, the shortest first: those with enough labels of enough days."""
    if not len(sample):
        return
    last, seen, alike = int(sample.blocks.max()), 0, None
    lengths = _lengths(sample, last, min_rows)
    for days in lengths:
        rows = sample.blocks > last - days
        many = int(rows.sum())
        if many < min_rows or many == seen:
            continue
        seen = many
        part = Sample(sample.truth[rows], sample.scores[rows], sample.blocks[rows], sample.measure)
        value = part.measure(part.truth, part.scores)
        if value is None or np.isnan(value) or len(np.unique(part.blocks)) < LEAST_BLOCKS:
            continue
        worse_by, p_value = sign * (limit - value), 1.0
        if worse_by > 0:
            alike = likeness(sample, last - lengths[-1]) if alike is None else alike
            p_value = min(1.0, chance(part, worse_by, alike) * LOOKS * len(STRETCHES))
        whole = min(days, last - int(sample.blocks.min()) + 1)
        yield Stretch(days=whole, labelled=many, value=float(value), p_value=p_value)


def _lengths(sample: Sample, last: int, min_rows: int) -> list[int]:
    """The lengths to look at: doubled until the longest has enough labels, or has all of them."""
    times = 1
    while np.count_nonzero(sample.blocks > last - times * STRETCHES[-1]) < min(min_rows, len(sample)):
        times *= 2
    return [times * days for days in STRETCHES]


def chance(part: Sample, worse_by: float, alike: float) -> float:
    """The chance to be worse by as much as that, looking once, when the metric is no worse than its limit.

    `alike` is how neighbouring days are correlated. It is 1 where too little is known of how much days differ.
    """
    days = np.unique(part.blocks)
    without = [part.measure(part.truth[kept], part.scores[kept]) for kept in (part.blocks != day for day in days)]
    figures = np.array(without, dtype=np.float64)
    worth = len(days) * (1 - alike) / (1 + alike)
    if np.isnan(figures).any() or worth <= 1:
        return 1.0
    variance = (len(days) - 1) / len(days) * float(np.square(figures - figures.mean()).sum()) * len(days) / worth
    return float(stdtr(worth - 1, -worse_by / sqrt(variance))) if variance else 0.0


def likeness(sample: Sample, after: int = -1) -> float:
    """How neighbouring days are correlated in the metric, from 0 on; 0 where there is too little to tell."""
    order = np.argsort(sample.blocks, kind="stable")
    days, starts = np.unique(sample.blocks[order], return_index=True)
    edges = [*starts.tolist(), len(order)]
    figures = [
        sample.measure(sample.truth[order[begin:end]], sample.scores[order[begin:end]])
        for day, (begin, end) in zip(days, pairwise(edges), strict=True)
        if day > after
    ]
    known = np.array(figures, dtype=np.float64)
    return correlation(known[~np.isnan(known)])


def limit_of(rule: QualityPolicy, bundle: Bundle, sign: int) -> float:
    """What the metric must not be worse than."""
    if rule.limit is not None or rule.drop is None:
        return rule.limit or 0.0
    tested = bundle.metrics["model"].get(rule.metric)
    if tested is None:
        raise MlopsError(
            f"this champion was never measured by {rule.metric}, so no drop of it can be seen",
            "set monitor.quality.limit in policy.yaml, or another metric",
        )
    return float(tested - sign * rule.drop)
