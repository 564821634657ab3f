"""Estimators of scikit-learn, and of what registers itself with skl2onnx, as ONNX graphs."""

from __future__ import annotations

from typing import Any

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix
from slipway.training.exporters import boosting, graphs


class Sklearn:
    """See `Exporter` for what each of these is."""

    def handles(self, estimator: Any) -> bool:
        """Whatever follows the conventions of scikit-learn."""
        from sklearn.base import BaseEstimator

        return isinstance(estimator, BaseEstimator)

    def export(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """Ask skl2onnx. Of a classifier's outputs the last holds the probabilities."""
        from sklearn.dummy import DummyClassifier, DummyRegressor

        if isinstance(graphs.last(estimator), DummyClassifier | DummyRegressor):
            return _constant(estimator, kind, sample)
        model = graph_of(estimator, sample)
        graphs.rename(model.graph, model.graph.output[-1].name, kind.output)
        return graphs.content(model)


def graph_of(estimator: Any, sample: Matrix) -> Any:
    """What skl2onnx makes of a fitted estimator. Raises `MlopsError` when it, or a part of it, has no conversion.

    A converter raises whatever comes to its mind, so that each error is one of conversion here.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.base import is_classifier

    lacking = boosting.register()
    options = {"zipmap": False} if is_classifier(estimator) else None
    inputs = [("rows", FloatTensorType([None, sample.shape[1]]))]
    try:
        return to_onnx(estimator, initial_types=inputs, options=options, target_opset=graphs.OPSETS)
    except Exception as error:
        if lacking:
            raise MlopsError(
                f"{type(graphs.last(estimator)).__name__} in model.py cannot be converted to ONNX: models of "
                f"{' and '.join(lacking)} are converted by onnxmltools, which is not installed",
                "uv add --group train onnxmltools",
            ) from error
        raise graphs.unconverted(estimator, error) from error


def _constant(estimator: Any, kind: Kind, sample: Matrix) -> bytes:
    """A baseline that gives every row the same scores, which skl2onnx does not know."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    last = graphs.last(estimator)
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
    imports = [helper.make_opsetid("", graphs.OPSETS[""])]
    return graphs.content(helper.make_model(graph, opset_imports=imports, ir_version=graphs.IR_VERSION))
