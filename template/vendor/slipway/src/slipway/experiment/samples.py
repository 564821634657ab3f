"""Labelled rows of the prediction log, ready to be measured by the team's metric."""

from __future__ import annotations

from math import ceil

import numpy as np
import polars as pl

from slipway import kinds, team
from slipway.contract.columns import Column
from slipway.data.labels import IS_DUE, TRUTH
from slipway.experiment.statistics import MOST_BLOCKS, MetricFunction, Sample
from slipway.settings.policy import LabelPolicy
from slipway.training.bundle import ModelFacts


def measured_by(facts: ModelFacts, metric: str) -> MetricFunction:
    """The team's metric, with the threshold of a model."""

    kind = kinds.named(facts.kind)

    def measure(truth: Column, scores: Column) -> float | None:
        return team.metrics(kind.happened(truth), scores, facts.threshold).get(metric)

    return measure


def by_time(log: pl.DataFrame, hours: float) -> pl.Expr:
    """Number the stretches of this many hours in a log; where there would be too many, longer ones."""
    seconds = log["at"].dt.epoch("s")
    whole = int(np.ptp(seconds.to_numpy())) if log.height else 0
    many = ceil(whole / (3600 * hours * MOST_BLOCKS))
    return (pl.col("at").dt.epoch("s") / (3600 * hours * max(1, many))).floor().cast(pl.Int64)


def sample_of(log: pl.DataFrame, measure: MetricFunction, blocks: pl.Expr) -> Sample:
    """The labelled rows of a log."""
    known = log.with_columns(blocks.alias("block")).filter(pl.col(TRUTH).is_not_null())
    return Sample(known[TRUTH].to_numpy(), known["score"].to_numpy(), known["block"].to_numpy(), measure)


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
