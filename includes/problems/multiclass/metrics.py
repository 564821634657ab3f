"""What "good" means, in numbers. Yours to change."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, roc_auc_score
from slipway import Column

from .model import CLASSES


def metrics(truth: Column, scores: Column, threshold: Column) -> dict[str, float]:
    """Measure the probability of each class, a column each, against the place in CLASSES of what happened.

    - `log_loss`: how surprised the model is by what happened; lower is better, and 0 is certain and right.
    - `macro_roc_auc`: the chance that a row of a class gets more of it than one of another, on average of the classes.
    - `macro_f1`, `macro_precision`, `macro_recall`: averages in which each class counts the same, however rare it is.
    - `precision_late`: share of flights called late that were late, and so on for each class.
    - `recall_late`: share of late flights that were called late, and so on for each class.

    `threshold` has that of each class: the answer is the class with the most in proportion to it.
    A group in which a class is missing has no `macro_roc_auc`: it is left out.
    """
    called = np.divide(scores, threshold).argmax(axis=1)
    places = np.arange(len(CLASSES))
    counts = confusion_matrix(truth, called, labels=places)
    right, happened, answered = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = right / np.maximum(answered, 1), right / np.maximum(happened, 1)
    measured = {
        "log_loss": np.log(1 / np.maximum(scores[np.arange(len(truth)), truth], 1e-7)).mean(),
        "macro_f1": (2 * right / np.maximum(happened + answered, 1)).mean(),
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
    }
    for place, name in enumerate(CLASSES):
        measured[f"precision_{name.replace(' ', '_')}"] = precision[place]
        measured[f"recall_{name.replace(' ', '_')}"] = recall[place]
    if len(np.unique(truth)) == len(CLASSES):
        measured["macro_roc_auc"] = np.mean([roc_auc_score(truth == place, scores[:, place]) for place in places])
    return {name: float(value) for name, value in sorted(measured.items())}
