"""Yes or no: the score is the probability of yes, and a threshold decides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slipway.kinds.base import Matrix, OneScore, Scores, Threshold

#: Finer towards both ends, where the scores of rare answers are.
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def gives_probabilities(estimator: Any) -> bool:
    """Every classifier of scikit-learn; of other libraries, what has a method for it."""
    from sklearn.base import BaseEstimator, is_classifier

    is_theirs = isinstance(estimator, BaseEstimator)
    return bool(is_classifier(estimator)) if is_theirs else hasattr(estimator, "predict_proba")


class Binary(OneScore):
    """See `Kind` for what each of these is."""

    name = "class"
    output = "probabilities"
    datatype = "BOOL"
    json_type = {"type": "boolean"}  # noqa: RUF012 - nobody changes it
    has_positives = is_chance = True
    rounding = 1e-6

    def handles(self, estimator: Any) -> bool:
        """Every classifier."""
        return gives_probabilities(estimator)

    def unlearnable(self, truth: NDArray[Any]) -> str:
        """Both answers are there, and no third."""
        values = np.unique(truth).astype(float)
        if not set(values) <= {0.0, 1.0}:
            first = ", ".join(f"{value:g}" for value in values[:5])
            more = " and more" if len(values) > 5 else ""
            return f"has the values {first}{more}, and an answer is yes or no, 1 or 0, unless model.py names CLASSES"
        return f"is {'yes' if values[0] else 'no'} in all {len(truth):,} of them" if len(values) == 1 else ""

    def examples(self) -> list[NDArray[Any]]:
        """Rare, frequent and nearly always yes."""
        rows = np.arange(4_000)
        return [rows % 20 == 0, rows % 2 == 0, rows % 20 != 0]

    def predicted(self, estimator: Any, rows: Matrix) -> Scores:
        """The probability of yes."""
        return np.asarray(estimator.predict_proba(rows)[:, -1])

    def scores(self, output: NDArray[Any]) -> Scores:
        """The last column: that of yes."""
        return output[:, -1]

    def answers(self, scores: Scores, threshold: Threshold) -> list[Any]:
        """Yes from the threshold on."""
        decided: list[Any] = (scores >= threshold).tolist()
        return decided

    def histogram_bounds(self, scores: NDArray[Any]) -> list[float]:
        """The same for every model."""
        del scores
        return [*BOUNDS]

    def happened(self, truth: NDArray[Any]) -> NDArray[Any]:
        """True or false."""
        return np.asarray(truth > 0)

    def compared(self, score: Any, answer: str, threshold: Threshold) -> list[Any]:
        """The probability, and the answer as the threshold decides it."""
        return [score, (score >= threshold).alias(answer)]

    def shown(self, mean: float) -> str:
        """The share of yes."""
        return f"{100 * mean:.1f} %"

    def outcome(self, answer: str, happened: float, expected: float, answers: str) -> str:
        """Shares of yes."""
        return f"{answer} was true for {self.shown(happened)} of {answers}, {self.shown(expected)} were expected"
