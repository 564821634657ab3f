"""Estimators of scikit-learn, and of what registers itself with skl2onnx, as ONNX graphs."""

from __future__ import annotations

from typing import Any

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix

OPSET = 18


class Sklearn:
    """See `Exporter` for what each of these is."""

    def handles(self, estimator: Any) -> bool:
        """Whatever follows the conventions of scikit-learn."""
        from sklearn.base import BaseEstimator

        return isinstance(estimator, BaseEstimator)

    def export(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """Ask skl2onnx. Of a classifier's outputs the last holds the probabilities."""
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
        from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
        from sklearn.base import is_classifier

        options = {"zipmap": False} if is_classifier(estimator) else None
        inputs = [("rows", FloatTensorType([None, sample.shape[1]]))]
        try:
            graph = to_onnx(estimator, initial_types=inputs, options=options, target_opset=OPSET)
        except (MissingConverter, MissingShapeCalculator, NotImplementedError) as error:
            raise MlopsError(
                f"{type(estimator).__name__} cannot be converted to ONNX: {str(error).splitlines()[0]}",
                "use an estimator that skl2onnx supports in model.py: https://onnx.ai/sklearn-onnx/supported.html",
            ) from error
        # The converter lists them in the order of a set, which differs from process to process.
        graph.opset_import.sort(key=lambda opset: opset.domain)
        _rename(graph.graph, graph.graph.output[-1].name, kind.output)
        content: bytes = graph.SerializeToString()
        return content


def _rename(graph: Any, before: str, after: str) -> None:
    """Give an output of the graph another name."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [after if name == before else name for name in names]
    graph.output[-1].name = after
