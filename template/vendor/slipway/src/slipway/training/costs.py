"""What answers cost on test rows, where `decision.costs` in params.yaml says what a wrong one costs."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from slipway.base.numbers import shown, significant
from slipway.settings.params import Costs


class CostOfAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """The mean cost of a row at the threshold that the costs give, and at the one that would be best on these rows.

    Far apart they are where probabilities are not what they say: see `reliability.py`.
    """

    threshold: float
    mean_cost: float
    best_threshold: float
    best_mean_cost: float

    def __str__(self) -> str:
        return (
            f"from a score of {shown(self.threshold)} on, which the costs in params.yaml ask for, the answer is yes: "
            f"{shown(self.mean_cost)} a test row; the least there could be is {shown(self.best_mean_cost)}, "
            f"from {shown(self.best_threshold)} on"
        )


def cost_of_answers(costs: Costs, scores: NDArray[Any], truth: NDArray[Any]) -> CostOfAnswers:
    """Measure the answers that scores give at each threshold; `truth` is yes or no for each row."""
    order = np.argsort(-scores, kind="stable")
    falling, happened = scores[order], np.asarray(truth, dtype=bool)[order]
    # With the first k rows answered yes: wrong are the no among them and the yes after them.
    wrong_yes = np.concatenate([[0], np.cumsum(~happened)])
    wrong_no = happened.sum() - np.concatenate([[0], np.cumsum(happened)])
    means = (costs.false_positive * wrong_yes + costs.false_negative * wrong_no) / max(1, len(scores))
    # Rows with equal scores get the same answer, so that only some k can be reached.
    reachable = np.concatenate([[True], np.append(falling[1:] != falling[:-1], True)]) if len(scores) else [True]
    best = int(np.argmin(np.where(reachable, means, np.inf)))
    here = int((scores >= costs.threshold).sum())
    return CostOfAnswers(
        threshold=significant(costs.threshold, 6),
        mean_cost=significant(float(means[here]), 6),
        best_threshold=significant(float(falling[best - 1]) if best else 1.0, 6),
        best_mean_cost=significant(float(means[best]), 6),
    )
