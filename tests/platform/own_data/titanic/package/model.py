"""Who survives, and what must be beaten."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from slipway import Column, Columns

ANSWER = "survives"


def target(outcomes: Columns) -> Column:
    """Return whether the passenger survived."""
    survived: Column = outcomes["survived"] == 1  # a category is its place in the contract
    return survived


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model."""
    return make_pipeline(SimpleImputer(strategy="median"), GradientBoostingClassifier(random_state=seed, **params))


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the model to beat: women first."""
    only_sex = ColumnTransformer([("sex", "passthrough", [features.index("sex")])])
    return make_pipeline(only_sex, LogisticRegression(random_state=seed))
