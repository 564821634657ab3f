"""What "good" means, in numbers. Yours to change."""

from __future__ import annotations

from sklearn.metrics import mean_absolute_error, median_absolute_error, root_mean_squared_error
from slipway import Column


def metrics(truth: Column, scores: Column, threshold: float) -> dict[str, float]:
    """Measure predicted minutes against what happened; all are minutes, lower is better.

    `threshold` is there for models that decide yes or no.
    """
    return {
        "mae": float(mean_absolute_error(truth, scores)),
        "median_error": float(median_absolute_error(truth, scores)),
        "rmse": float(root_mean_squared_error(truth, scores)),
    }
