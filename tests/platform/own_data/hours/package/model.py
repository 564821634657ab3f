"""How humid it is, and what must be beaten."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from slipway import Column, Columns

ANSWER = "humidity"


def target(outcomes: Columns) -> Column:
    """Return the relative humidity in percent."""
    return outcomes["humid"]


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model."""
    return make_pipeline(SimpleImputer(strategy="median"), GradientBoostingRegressor(random_state=seed, **params))


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the model to beat: a straight line over what can be seen."""
    sight = ColumnTransformer([("sight", "passthrough", [features.index("visib")])])
    return make_pipeline(sight, LinearRegression())
