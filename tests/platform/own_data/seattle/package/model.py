"""How warm it gets, and what must be beaten."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from slipway import Column, Columns

ANSWER = "warmest"


def target(outcomes: Columns) -> Column:
    """Return the highest temperature of the day."""
    return outcomes["temp_max"]


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model."""
    return GradientBoostingRegressor(random_state=seed, **params)


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the model to beat: a straight line over the season."""
    season = ColumnTransformer([("season", "passthrough", [features.index("winter")])])
    return make_pipeline(season, LinearRegression())
