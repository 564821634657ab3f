"""A quantity: the score is the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slipway.base.numbers import significant
from slipway.kinds.base import Matrix, OneScore, Scores, Threshold

#: Which part of the reference has a lower quantity than each bound.
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Number(OneScore):
    """See `Kind` for what each of these is."""

    name = "number"
    output = "variable"
    datatype = "FP64"
    json_type = {"type": "number"}  # noqa: RUF012 - nobody changes it
    has_positives = False
    rounding = 0.0

    def handles(self, estimator: Any) -> bool:
        """Whatever has `predict`, and no other kind handles."""
        return hasattr(estimator, "predict")

    def unlearnable(self, truth: NDArray[Any]) -> str:
        """It is not always the same."""
        is_constant = len(truth) > 0 and bool((truth == truth[0]).all())
        return f"is {truth[0]:g} in all {len(truth):,} of them" if is_constant else ""

    def examples(self) -> list[NDArray[Any]]:
        """Small, usual, large and negative ones."""
        steps = np.linspace(1, 2, 4_000, dtype=np.float32)
        return [steps * np.float32(1e-6), steps, steps * np.float32(1e6), steps - np.float32(1.5)]

    def predicted(self, estimator: Any, rows: Matrix) -> Scores:
        """The quantity."""
        return np.asarray(estimator.predict(rows))

    def scores(self, output: NDArray[Any]) -> Scores:
        """The only column."""
        return output[:, -1]

    def answers(self, scores: Scores, threshold: Threshold) -> list[Any]:
        """The quantities, with the digits that a score has."""
        del threshold
        return [*map(significant, scores.tolist())]

    def histogram_bounds(self, scores: NDArray[Any]) -> list[float]:
        """Quantiles of the training rows."""
        return sorted({float(f"{bound:.4g}") for bound in np.quantile(scores, QUANTILES)})

    def happened(self, truth: NDArray[Any]) -> NDArray[Any]:
        """The quantity that was observed."""
        return truth

    def compared(self, score: Any, answer: str, threshold: Threshold) -> list[Any]:
        """The quantity, under the answer's name."""
        del threshold
        return [score.alias(answer)]

    def shown(self, mean: float) -> str:
        """The mean, in the unit of the answer."""
        return f"{mean:.4g}"

    def outcome(self, answer: str, happened: float, expected: float, answers: str) -> str:
        """Means of the quantity."""
        return f"{answer} was {self.shown(happened)} on average of {answers}, {self.shown(expected)} was expected"
