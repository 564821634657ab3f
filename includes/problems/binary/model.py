"""What is predicted, by which model, and what it must beat. Yours to change."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from slipway import Column, Columns

#: The name of the prediction in every answer, log and report.
ANSWER = "late"

LATE_MINUTES = 15


def target(outcomes: Columns) -> Column:
    """Return what the model learns: did the flight arrive more than 15 minutes late?"""
    late: Column = np.asarray(outcomes["arr_delay"] > LATE_MINUTES)
    return late


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model; `params` is the `model` part of params.yaml."""
    return make_pipeline(
        SimpleImputer(strategy="median"),
        GradientBoostingClassifier(random_state=seed, **params),
    )


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the simple model that must be beaten: a straight line over the hour of departure."""
    only_hour = ColumnTransformer([("hour", "passthrough", [features.index("hour")])])
    return make_pipeline(only_hour, LogisticRegression(random_state=seed))
