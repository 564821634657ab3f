"""What is predicted, by which model, and what it must beat. Yours to change."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import HuberRegressor
from sklearn.pipeline import make_pipeline
from slipway import Column, Columns

#: The name of the prediction in every answer, log and report.
ANSWER = "delay"


def target(outcomes: Columns) -> Column:
    """Return what the model learns: the minutes by which the flight arrived late."""
    return outcomes["arr_delay"]


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model; `params` is the `model` part of params.yaml."""
    return make_pipeline(
        SimpleImputer(strategy="median"),
        GradientBoostingRegressor(random_state=seed, **params),
    )


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the simple model that must be beaten: a straight line over the hour of departure."""
    only_hour = ColumnTransformer([("hour", "passthrough", [features.index("hour")])])
    return make_pipeline(only_hour, HuberRegressor())
