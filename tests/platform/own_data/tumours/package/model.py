"""What is predicted, by which model, and what it must beat."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from slipway import Column, Columns

ANSWER = "malignant"


def target(outcomes: Columns) -> Column:
    """Return whether the tumour is malignant."""
    malignant: Column = outcomes["target"] == 0
    return malignant


def build(seed: int, **params: Any) -> BaseEstimator:
    """Return the untrained model."""
    return make_pipeline(StandardScaler(), LogisticRegression(random_state=seed, **params))


def baseline(features: list[str], seed: int) -> BaseEstimator:
    """Return the model to beat: the texture alone."""
    only_texture = ColumnTransformer([("texture", "passthrough", [features.index("mean texture")])])
    return make_pipeline(only_texture, LogisticRegression(random_state=seed))
