"""What "good" means where one flight in forty is cancelled."""

from sklearn.metrics import average_precision_score, brier_score_loss
from slipway import Column


def metrics(truth: Column, scores: Column, threshold: float) -> dict[str, float]:
    """Measure scores against what happened."""
    return {
        "average_precision": float(average_precision_score(truth, scores)),
        "brier": float(brier_score_loss(truth, scores)),
    }
