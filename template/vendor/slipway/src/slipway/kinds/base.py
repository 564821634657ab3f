"""What differs by the kind of answer that a model gives: a yes or no, a quantity, or one that you plug in.

A kind of your own is a class with what `Kind` asks for, named in the entry-point group `slipway.kind`. It is written
for numpy alone: servers have no data-frame library.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: The feature matrix, a row for each row; and one number for each row, from which the answer is made.
Matrix = NDArray[np.float32]
Scores = NDArray[np.float32]


def alike(one: Scores, other: Scores, rounding: float, *, part: float = 1e-5) -> NDArray[np.bool_]:
    """Tell for each row whether two scores are the same but for the order of arithmetic.

    They may be a ten-thousandth apart, and a `part` of what scores are on average, so that it does not matter in
    which unit they are; `rounding` is that of their kind.

    >>> alike(np.float32([1e-7, 0]), np.float32([2e-7, 1e-13]), 0.0).tolist()
    [False, True]
    """
    usual = float(np.abs(one).mean()) if len(one) else 0.0
    return np.isclose(other, one, rtol=1e-4, atol=part * usual + rounding, equal_nan=True)


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
    def rounding(self) -> float:
        """By how much two scores may differ by arithmetic alone, however small they are."""
        ...

    def handles(self, estimator: Any) -> bool:
        """Whether an untrained or fitted estimator gives answers of this kind."""
        ...

    def unlearnable(self, truth: NDArray[Any]) -> str:
        """Why no answer of this kind can be learned from the finite numbers that `target` gives; empty if it can."""
        ...

    def examples(self) -> list[NDArray[Any]]:
        """Made-up truths, as `happened` gives them, to try metrics on; the right scores are equal to them."""
        ...

    def predicted(self, estimator: Any, rows: Matrix) -> Scores:
        """The scores that a fitted estimator gives, before it is converted."""
        ...

    def scores(self, output: NDArray[Any]) -> Scores:
        """One score for each row, from what the graph gives."""
        ...

    def answers(self, scores: Scores, threshold: float) -> list[Any]:
        """What clients get for these scores."""
        ...

    def histogram_bounds(self, scores: NDArray[Any]) -> list[float]:
        """The rising bounds by which scores are counted, chosen by those of training rows."""
        ...

    def happened(self, truth: NDArray[Any]) -> NDArray[Any]:
        """Labels as the team's metrics take them, from how they are stored: as numbers."""
        ...

    def compared(self, score: Any, answer: str, threshold: float) -> list[Any]:
        """The columns in which drift of the model's output is looked for, from `score`, a polars expression."""
        ...

    def shown(self, mean: float) -> str:
        """Write a mean of answers for people."""
        ...

    def outcome(self, answer: str, happened: float, expected: float, answers: str) -> str:
        """Say what happened, on average of `answers` ("500 labelled answers"), and what was expected."""
        ...
