"""What "good" means, in percent of humidity."""

from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from slipway import Column


def metrics(truth: Column, scores: Column, threshold: float) -> dict[str, float]:
    """Measure quantities against what was found; lower is better."""
    return {"mae": float(mean_absolute_error(truth, scores)), "rmse": float(root_mean_squared_error(truth, scores))}
