"""One of several classes: a score for each, the probability of it, and the most likely one is the answer.

`decision.threshold` in params.yaml may give classes a threshold: the answer is then the class whose probability is
largest in proportion to its threshold, which is 1 for a class that is not named. What speaks of one number for each row
speaks of the probability of the answer, and of whether that was right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slipway.base.errors import MlopsError
from slipway.kinds.base import Matrix, Scores, Threshold, Wanted
from slipway.kinds.binary import BOUNDS, gives_probabilities


def column(name: str) -> str:
    """What the probability of a class is called where it is a column of its own."""
    return f"probability of {name}"


@dataclass(frozen=True)
class Multiclass:
    """See `Kind` for what each of these is."""

    classes: tuple[str, ...] = ()

    name = "multiclass"
    output = "probabilities"
    datatype = "BYTES"
    has_positives = False
    is_chance = True
    rounding = 1e-6

    @property
    def json_type(self) -> dict[str, Any]:
        """The name of a class."""
        return {"type": "string", "enum": [*self.classes]}

    def with_classes(self, classes: Sequence[str]) -> Multiclass:
        """The kind of these classes."""
        return Multiclass(tuple(classes))

    def handles(self, estimator: Any) -> bool:
        """Every classifier, where model.py names classes."""
        return bool(self.classes) and gives_probabilities(estimator)

    def threshold(self, wanted: Wanted) -> Threshold:
        """One for each class. The same for all is as good as none: the most likely class is the answer."""
        by_class = wanted if isinstance(wanted, Mapping) else {}
        for name, value in by_class.items():
            if name not in self.classes:
                raise MlopsError(
                    f"params.yaml, decision.threshold: there is no class {name}",
                    f"choose from {', '.join(self.classes)}",
                )
            if value <= 0:
                raise MlopsError(
                    f"params.yaml, decision.threshold: that of {name} is {value:g}, so {name} would always be the "
                    "answer",
                    "write a number above 0",
                )
        return [float(by_class.get(name, 1.0)) for name in self.classes]

    def unlearnable(self, truth: NDArray[Any]) -> str:
        """Every class is there, and nothing else."""
        places = np.arange(len(self.classes))
        if len(others := np.setdiff1d(truth, places)):
            return f"has the value {others[0]:g}, and the places in CLASSES are 0 to {places[-1]}"
        lacking = [self.classes[place] for place in np.setdiff1d(places, truth)]
        return f"has no row of the class {', '.join(lacking)} among {len(truth):,}" if lacking else ""

    def examples(self) -> list[NDArray[Any]]:
        """All classes equally often, and each of them nearly always."""
        rows = np.arange(4_000)
        even = rows % len(self.classes)
        return [even, *(np.where(rows % 20, place, even) for place in range(len(self.classes)))]

    def certain(self, truth: NDArray[Any]) -> Scores:
        """Certain of the class that it was."""
        return np.eye(len(self.classes), dtype=np.float32)[truth.astype(np.int64)]

    def predicted(self, estimator: Any, rows: Matrix) -> Scores:
        """The probability of each class."""
        return np.asarray(estimator.predict_proba(rows))

    def scores(self, output: NDArray[Any]) -> Scores:
        """Every column."""
        return output

    def places(self, scores: Scores, threshold: Threshold) -> NDArray[np.int64]:
        """The place in `classes` of each answer; of equally likely ones the first."""
        return np.asarray(np.divide(scores, threshold).argmax(axis=1))

    def told(self, scores: Scores, threshold: Threshold) -> Scores:
        """The probability of the answer."""
        return scores[np.arange(len(scores)), self.places(scores, threshold)]

    def observed(self, truth: NDArray[Any], scores: Scores, threshold: Threshold) -> NDArray[Any]:
        """Whether the answer is right: 1 or 0."""
        return np.asarray(truth == self.places(scores, threshold), dtype=np.float64)

    def answers(self, scores: Scores, threshold: Threshold) -> list[Any]:
        """Names of classes."""
        return [self.classes[place] for place in self.places(scores, threshold).tolist()]

    def histogram_bounds(self, scores: NDArray[Any]) -> list[float]:
        """The same for every model."""
        del scores
        return [*BOUNDS]

    def happened(self, truth: NDArray[Any]) -> NDArray[Any]:
        """The place in `classes`."""
        return truth.astype(np.int64)

    def compared(self, score: Any, answer: str, threshold: Threshold) -> list[Any]:
        """The answer, and the probability of each class."""
        import polars as pl

        each = [score.list.get(place) for place in range(len(self.classes))]
        weighed = [one / limit for one, limit in zip(each, np.broadcast_to(threshold, len(each)).tolist(), strict=True)]
        names = dict(enumerate(self.classes))
        answered = pl.concat_list(weighed).list.arg_max().replace_strict(names, return_dtype=pl.String)
        named = [one.alias(column(name)) for one, name in zip(each, self.classes, strict=True)]
        return [answered.alias(answer), *named]

    def shown(self, mean: float) -> str:
        """The share of right answers."""
        return f"{100 * mean:.1f} %"

    def outcome(self, answer: str, happened: float, expected: float, answers: str) -> str:
        """Shares of right answers."""
        return f"{answer} was right for {self.shown(happened)} of {answers}, {self.shown(expected)} were expected"
