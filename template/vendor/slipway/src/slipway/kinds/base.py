"""What differs by the kind of answer that a model gives: a yes or no, a quantity, or one that you plug in.

A kind of your own is a class with what `Kind` asks for, named in the entry-point group `slipway.kind`. It is written
for numpy alone: servers have no data-frame library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from slipway.base.errors import MlopsError

#: The feature matrix, a row for each row; and what the answer is made from: one number for each row, or one for each
#: class, as a matrix of rows and classes.
Matrix = NDArray[np.float32]
Scores = NDArray[np.float32]
#: What `decision.threshold` in params.yaml says: a number, or numbers by class; and what a kind makes of it.
Wanted = float | Mapping[str, float]
Threshold = float | list[float]


def alike(one: Scores, other: Scores, rounding: float, *, part: float = 1e-5) -> NDArray[np.bool_]:
    """Tell for each row whether two scores are the same but for the order of arithmetic; of classes, whether all are.

    They may be a ten-thousandth apart, and a `part` of what scores are on average, so that it does not matter in
    which unit they are; `rounding` is that of their kind.

    >>> alike(np.float32([1e-7, 0]), np.float32([2e-7, 1e-13]), 0.0).tolist()
    [False, True]
    """
    usual = float(np.abs(one).mean()) if len(one) else 0.0
    near = np.asarray(np.isclose(other, one, rtol=1e-4, atol=part * usual + rounding, equal_nan=True))
    return near if near.ndim < 2 else np.asarray(near.all(axis=1))


class Kind(Protocol):
    """All that differs by the kind of answer. What is done with answers in general stands elsewhere."""

    @property
    def name(self) -> str:
        """What `model.json` calls it."""
        ...

    @property
    def output(self) -> str:
        """The output of the ONNX graph that the scores are taken from."""
        ...

    @property
    def datatype(self) -> str:
        """The answer's type in the Open Inference Protocol: `BOOL`, `INT64`, `FP64` or `BYTES`."""
        ...

    @property
    def json_type(self) -> dict[str, Any]:
        """The JSON Schema of the answer."""
        ...

    @property
    def has_positives(self) -> bool:
        """Whether an answer can be yes, so that servers count how often it is."""
        ...

    @property
    def is_chance(self) -> bool:
        """Whether the one score of a row, as `told` gives it, is a probability."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """The classes that its scores are of, in their order; none where each row has one score."""
        ...

    @property
    def rounding(self) -> float:
        """By how much two scores may differ by arithmetic alone, however small they are."""
        ...

    def with_classes(self, classes: Sequence[str]) -> Kind:
        """This kind for the classes that model.py names; itself where classes are not its business."""
        ...

    def handles(self, estimator: Any) -> bool:
        """Whether an untrained or fitted estimator gives answers of this kind."""
        ...

    def threshold(self, wanted: Wanted) -> Threshold:
        """What decides answers, from `decision.threshold`. Raises `MlopsError` for what cannot decide them."""
        ...

    def unlearnable(self, truth: NDArray[Any]) -> str:
        """Why no answer of this kind can be learned from the finite numbers that `target` gives; empty if it can."""
        ...

    def examples(self) -> list[NDArray[Any]]:
        """Made-up truths, as `happened` gives them, to try metrics on."""
        ...

    def certain(self, truth: NDArray[Any]) -> Scores:
        """The scores of a model that is always right, for such truths."""
        ...

    def predicted(self, estimator: Any, rows: Matrix) -> Scores:
        """The scores that a fitted estimator gives, before it is converted."""
        ...

    def scores(self, output: NDArray[Any]) -> Scores:
        """The scores of each row, from what the graph gives."""
        ...

    def told(self, scores: Scores, threshold: Threshold) -> Scores:
        """One score for each row, which is logged, counted and drawn: of classes, the probability of the answer."""
        ...

    def observed(self, truth: NDArray[Any], scores: Scores, threshold: Threshold) -> NDArray[Any]:
        """What of stored labels `told` is an expectation of: with classes, whether the answer is right."""
        ...

    def answers(self, scores: Scores, threshold: Threshold) -> list[Any]:
        """What clients get for these scores."""
        ...

    def histogram_bounds(self, scores: NDArray[Any]) -> list[float]:
        """The rising bounds by which the one score of a row is counted, chosen by those of training rows."""
        ...

    def happened(self, truth: NDArray[Any]) -> NDArray[Any]:
        """Labels as the team's metrics take them, from how they are stored: as numbers."""
        ...

    def compared(self, score: Any, answer: str, threshold: Threshold) -> list[Any]:
        """The columns in which drift of the model's output is looked for, as polars expressions.

        They are made from `score`, an expression of the one score of each row, or of a list where there are classes.
        """
        ...

    def shown(self, mean: float) -> str:
        """Write a mean of answers for people."""
        ...

    def outcome(self, answer: str, happened: float, expected: float, answers: str) -> str:
        """Say what happened, on average of `answers` ("500 labelled answers"), and what was expected."""
        ...


class OneScore:
    """What follows where each row has one score, and no class a name: a kind of your own may inherit it."""

    is_chance = False
    classes: Sequence[str] = ()

    def with_classes(self, classes: Sequence[str]) -> Any:
        """Itself: classes are not its business."""
        del classes
        return self

    def threshold(self, wanted: Wanted) -> Threshold:
        """The number. Raises `MlopsError` for numbers by class."""
        if isinstance(wanted, Mapping):
            raise MlopsError(
                f"params.yaml, decision.threshold: it names {', '.join(wanted) or 'no class'}, and this model has no "
                "classes",
                "write one number, or name the classes in model.py: CLASSES",
            )
        return wanted

    def certain(self, truth: NDArray[Any]) -> Scores:
        """The truth itself."""
        return truth.astype(np.float32)

    def told(self, scores: Scores, threshold: Threshold) -> Scores:
        """The score."""
        del threshold
        return scores

    def observed(self, truth: NDArray[Any], scores: Scores, threshold: Threshold) -> NDArray[Any]:
        """The truth, which the score is an expectation of."""
        del scores, threshold
        return truth
