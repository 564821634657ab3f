"""What turns a fitted estimator into an ONNX graph.

An exporter of your own is a class with what `Exporter` asks for, named in the entry-point group `slipway.exporter`.
"""

from __future__ import annotations

from typing import Any, Protocol

from slipway.kinds.base import Kind, Matrix


class Exporter(Protocol):
    """Knows the estimators of one library."""

    def handles(self, estimator: Any) -> bool:
        """Whether this exporter knows the estimator."""
        ...

    def export(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """Return the graph of a fitted estimator, the same bytes for the same estimator.

        Its one input takes a float32 matrix like `sample`, with any number of rows, and its output `kind.output`
        holds what `kind.scores` reads. Raises `MlopsError` when the estimator, or a part of it, has no conversion.
        """
        ...
