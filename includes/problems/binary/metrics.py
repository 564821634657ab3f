"""What "good" means, in numbers. Yours to change."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import brier_score_loss, precision_score, recall_score, roc_auc_score
from slipway import Column


def metrics(truth: Column, scores: Column, threshold: float) -> dict[str, float]:
    """Measure scores against what happened; all are between 0 and 1.

    - `roc_auc`: the chance that a late flight gets a higher score than a punctual one.
    - `brier`: mean squared distance of the probability from what happened; lower is better.
    - `precision`: share of flights called late that were late.
    - `recall`: share of late flights that were called late.

    A group in which everything ended the same way has no `roc_auc`: it is left out.
    """
    called = scores >= threshold
    measured = {
        "brier": brier_score_loss(truth, scores),
        "precision": precision_score(truth, called, zero_division=0),
        "recall": recall_score(truth, called, zero_division=0),
    }
    if len(np.unique(truth)) > 1:
        measured["roc_auc"] = roc_auc_score(truth, scores)
    return {name: float(value) for name, value in sorted(measured.items())}
