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
ANSWER = "arrival"

#: What the answer may be, in the order in which `target` numbers it from 0.
CLASSES = ("on time", "late", "very late")

LATE_MINUTES, VERY_LATE_MINUTES = 15, 60


def target(outcomes: Columns) -> Column:
    """Return what the model learns: the place in CLASSES of how late the flight arrived.

    More than 15 minutes are late, more than 60 very late.
    """
    late: Column = np.digitize(outcomes["arr_delay"], [LATE_MINUTES, VERY_LATE_MINUTES], right=True)
    return late


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model; `params` is the `model` part of params.yaml."""
    return make_pipeline(
        SimpleImputer(strategy="median"),
        GradientBoostingClassifier(random_state=seed, **params),
    )


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the simple model that must be beaten: straight lines over the hour of departure."""
    only_hour = ColumnTransformer([("hour", "passthrough", [features.index("hour")])])
    return make_pipeline(only_hour, LogisticRegression(random_state=seed))
