"""What "good" means, in numbers. Yours to change."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix
from slipway import Column

from .model import CLASSES


def metrics(truth: Column, scores: Column, threshold: Column) -> dict[str, float]:
    """Measure the probability of each class, a column each, against the place in CLASSES of what it was.

    - `log_loss`: how surprised the model is by what it was; lower is better, and 0 is certain and right.
    - `accuracy`: share of right answers.
    - `macro_f1`, `macro_precision`, `macro_recall`: averages in which each class counts the same, however rare it is.
    - `recall_7`: share of sevens that were called one, and so on for each class.

    `threshold` has that of each class: the answer is the class with the most in proportion to it.
    """
    called = np.divide(scores, threshold).argmax(axis=1)
    places = np.arange(len(CLASSES))
    counts = confusion_matrix(truth, called, labels=places)
    right, happened, answered = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = right / np.maximum(answered, 1), right / np.maximum(happened, 1)
    measured = {
        "log_loss": np.log(1 / np.maximum(scores[np.arange(len(truth)), truth], 1e-7)).mean(),
        "accuracy": (called == truth).mean(),
        "macro_f1": (2 * right / np.maximum(happened + answered, 1)).mean(),
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
    } | {f"recall_{name}": recall[place] for place, name in enumerate(CLASSES)}
    return {name: float(value) for name, value in sorted(measured.items())}
