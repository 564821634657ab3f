"""Whether a flight is cancelled, and what must be beaten."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from slipway import Column, Columns

ANSWER = "cancelled_flight"


def target(outcomes: Columns) -> Column:
    """Return whether the flight did not leave."""
    cancelled: Column = outcomes["cancelled"] == 1
    return cancelled


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model."""
    return GradientBoostingClassifier(random_state=seed, **params)


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the model to beat: the hour alone."""
    only_hour = ColumnTransformer([("hour", "passthrough", [features.index("hour")])])
    return make_pipeline(only_hour, LogisticRegression(random_state=seed))
