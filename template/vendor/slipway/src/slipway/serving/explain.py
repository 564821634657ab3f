"""What each column of a row did to its score.

A column's contribution is the row's score less the score that the row gets with a usual value in that column:
the median of the training rows for numbers, the most frequent value for the rest. This is the single-feature
ablation of Robnik-Sikonja and Kononenko, "Explaining Classifications For Individual Instances" (IEEE TKDE 20(5),
2008). It needs one more score for each column, works for any model, and says nothing of columns that act
only together. With classes, the score is the probability of the class that the row got as its answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from slipway.base.errors import MlopsError
from slipway.base.numbers import significant
from slipway.contract.problems import Problem
from slipway.contract.rows import Row
from slipway.team import CONTRACT
from slipway.training.scoring import Scorer

MAX_ROWS = 100


class Explainer:
    """Explains the scores of one model."""

    def __init__(self, scorer: Scorer) -> None:
        usual = scorer.bundle.golden.usual
        if usual is None:
            raise MlopsError(
                "this bundle does not say what is usual, so no answer can be explained with it",
                "mlops pipeline, then register and promote what it made; or set serving.explain: false in policy.yaml",
            )
        self._scorer = scorer
        self._usual: Row = msgspec.convert(usual, CONTRACT.row)

    def contributions(self, rows: Sequence[Row]) -> list[dict[str, float]]:
        """For each row the contribution of each column, in the unit of the score."""
        if len(rows) > MAX_ROWS:
            raise Problem(413, f"{len(rows):,} rows are more than the {MAX_ROWS} that one request may have explained")
        names = [field.name for field in CONTRACT.fields]
        variants = [
            msgspec.structs.replace(row, **{name: getattr(self._usual, name)}) for row in rows for name in names
        ]
        scored = self._scorer.score_rows([*rows, *variants])
        if classes := self._scorer.kind.classes:  # of its answer's probability, as its variants have it
            places = np.array([classes.index(answer) for answer in self._scorer.answers(scored[: len(rows)])])
            scored = scored[np.arange(len(scored)), np.concatenate([places, places.repeat(len(names))])]
        scores = scored.tolist()
        own, others = scores[: len(rows)], iter(scores[len(rows) :])
        return [{name: significant(score - next(others)) for name in names} for score in own]
