"""In which format a fitted estimator is kept, and what scores rows with it.

ONNX is the first choice, as one program runs it whatever made it. The formats of libraries are for what has no
conversion: each is data that its library reads, and no code that a file brings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix, Scores

#: A loaded model: the scores of each row of a feature matrix.
Scoring = Callable[[Matrix], Scores]


class ModelFormat(Protocol):
    """Knows one format. What it needs of a library is imported by its methods alone."""

    @property
    def name(self) -> str:
        """What `params.yaml` and `model.json` call it."""
        ...

    @property
    def file(self) -> str:
        """The model's file."""
        ...

    @property
    def platform(self) -> str:
        """What the Open Inference Protocol calls it."""
        ...

    @property
    def packages(self) -> Sequence[str]:
        """The packages that read it, any one of which is enough; none where each server has what reads it."""
        ...

    def handles(self, estimator: Any) -> bool:
        """Whether an untrained or fitted estimator can be kept in it."""
        ...

    def content(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """The file of a fitted estimator, the same bytes for the same estimator; `sample` are some rows for it.

        Raises `MlopsError` when the estimator, or a part of it, cannot be kept.
        """
        ...

    def modules(self, path: Path) -> Sequence[str]:
        """The libraries, as they are imported, whose version decides what a file means; none of ONNX."""
        ...

    def load(self, path: Path, kind: Kind, *, threads: int, trusted: Sequence[str]) -> Scoring:
        """What scores rows with so many threads, 0 for as many as there are processors.

        `trusted` are the types that a file may hold beside the usual ones. Raises `MlopsError` for one with others.
        """
        ...


def unkept(estimator: Any, form: str, error: Exception) -> MlopsError:
    """What to say of an estimator that raised this error when it was kept in a format of its library."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return MlopsError(
        f"{type(estimator).__name__} in model.py cannot be kept in the format {form}: {said[0]}",
        "use an estimator that vendor/slipway/docs/models.md lists",
    )
