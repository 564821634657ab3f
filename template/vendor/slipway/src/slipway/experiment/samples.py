"""Labelled rows of the prediction log, ready to be measured by the team's metric."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import TypeVar

import numpy as np
import polars as pl

from slipway import kinds, team
from slipway.contract.columns import Column
from slipway.data.labels import IS_DUE, TRUTH
from slipway.experiment.statistics import MOST_BLOCKS, UNLIKE, MetricFunction, Sample, label_chance
from slipway.settings.policy import LabelPolicy
from slipway.training.bundle import ModelFacts
from slipway.training.score_columns import scores_in

T = TypeVar("T")
#: The same thing of the champion and of the challenger.
Both = tuple[T, T]


def measured_by(facts: ModelFacts, metric: str) -> MetricFunction:
    """The team's metric, with the threshold of a model."""

    kind = kinds.named(facts.kind, facts.classes)

    def measure(truth: Column, scores: Column) -> float | None:
        return team.metrics(kind.happened(truth), scores, facts.threshold).get(metric)

    return measure


def by_time(log: pl.DataFrame, hours: float) -> pl.Expr:
    """Number the stretches of this many hours in a log; where there would be too many, longer ones."""
    seconds = log["at"].dt.epoch("s")
    whole = int(np.ptp(seconds.to_numpy())) if log.height else 0
    many = ceil(whole / (3600 * hours * MOST_BLOCKS))
    return (pl.col("at").dt.epoch("s") / (3600 * hours * max(1, many))).floor().cast(pl.Int64)


def sample_of(log: pl.DataFrame, measure: MetricFunction, blocks: pl.Expr, clusters: Iterable[pl.Expr] = ()) -> Sample:
    """The labelled rows of a log."""
    parts = [blocks, *clusters]
    known = log.with_columns(part.alias(f"(part {number})") for number, part in enumerate(parts))
    known = known.filter(pl.col(TRUTH).is_not_null())
    of_time, *others = (known[f"(part {number})"].to_numpy() for number in range(len(parts)))
    return Sample(known[TRUTH].to_numpy(), scores_in(known), of_time, measure, tuple(others))


def too_few_labels(log: pl.DataFrame, rule: LabelPolicy) -> str:
    """Say that too many of the predictions that should have a label by now have none; empty when it is well."""
    due = int(log[IS_DUE].sum())
    labelled = log[TRUTH].count()
    if labelled >= rule.min_share * due:
        return ""
    return (
        f"{labelled:,} of {due:,} predictions that should have a label by now have one, "
        f"labels.min_share asks for {rule.min_share:.0%}"
    )


def unlike_labels(champion: pl.DataFrame, challenger: pl.DataFrame, blocks: pl.Expr) -> str:
    """Say that the versions' predictions have their labels in shares that differ by more than chance; empty else.

    Where a label comes less often for one version's answers, those that come are a choice, and a choice by the outcome
    shows as a gain. Shares are compared over stretches of time, as labels often come or lack by the day.
    """
    arms = []
    every = np.unique(np.concatenate([log.select(blocks).to_series().to_numpy() for log in (champion, challenger)]))
    for log in (champion, challenger):
        due = log.filter(IS_DUE)
        places = np.searchsorted(every, due.select(blocks).to_series().to_numpy())
        labelled = due[TRUTH].is_not_null().to_numpy()
        arms.append((np.bincount(places, labelled, len(every)), np.bincount(places, minlength=len(every))))
    (first, due_first), (second, due_second) = arms
    chance = label_chance((first, second), (due_first, due_second))
    if chance > UNLIKE:
        return ""
    shares = first.sum() / due_first.sum(), second.sum() / due_second.sum()
    return (
        f"{shares[0]:.1%} of the champion's predictions have their label and {shares[1]:.1%} of the challenger's, more "
        "apart than chance explains: those that lack may be of one outcome, so find out which and why"
    )
