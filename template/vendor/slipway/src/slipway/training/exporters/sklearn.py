"""Estimators of scikit-learn, and of what registers itself with skl2onnx, as ONNX graphs."""

from __future__ import annotations

from typing import Any

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix

#: The operators of a graph, and the form of its file, that onnxruntime reads.
OPSET, IR_VERSION = 18, 9


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
        from sklearn.dummy import DummyClassifier, DummyRegressor

        if isinstance(_last(estimator), DummyClassifier | DummyRegressor):
            return _constant(estimator, kind, sample)
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


def _last(estimator: Any) -> Any:
    """What answers: the last step of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _constant(estimator: Any, kind: Kind, sample: Matrix) -> bytes:
    """A baseline that gives every row the same scores, which skl2onnx does not know."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    last = _last(estimator)
    if (strategy := getattr(last, "strategy", "")) in ("uniform", "stratified"):
        raise MlopsError(
            f"{type(last).__name__} answers by chance with strategy={strategy!r}, and no graph does",
            'use strategy="prior", "most_frequent" or "constant" in model.py',
        )
    ask = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
    said = np.asarray(ask(sample[:1]), np.float32).reshape(1, -1)
    constants = {"score": said, "width": np.array([said.shape[1]])}
    nodes = [
        helper.make_node("Shape", ["rows"], ["height"], start=0, end=1),
        helper.make_node("Concat", ["height", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["score", "shape"], [kind.output]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, sample.shape[1]])],
        [helper.make_tensor_value_info(kind.output, TensorProto.FLOAT, [None, said.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    content: bytes = model.SerializeToString()
    return content


def _rename(graph: Any, before: str, after: str) -> None:
    """Give an output of the graph another name."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [after if name == before else name for name in names]
    graph.output[-1].name = after
