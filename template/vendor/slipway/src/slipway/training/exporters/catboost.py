"""Gradient boosting by CatBoost as an ONNX graph, alone or as the last step of a pipeline."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from slipway.kinds.base import Kind, Matrix
from slipway.training.exporters import graphs
from slipway.training.exporters.sklearn import graph_of


class CatBoost:
    """See `Exporter` for what each of these is. CatBoost writes the graph itself; steps before it are put in front."""

    def handles(self, estimator: Any) -> bool:
        """A model of CatBoost, or a pipeline that ends in one."""
        return "catboost" in sys.modules and isinstance(graphs.last(estimator), sys.modules["catboost"].CatBoost)

    def export(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """Join the graph of the steps before with that of CatBoost."""
        from onnx.compose import merge_models
        from sklearn.pipeline import Pipeline

        own = graphs.as_matrix(_written(graphs.last(estimator)), kind.output)
        if not (steps := getattr(estimator, "steps", [])[:-1]):
            return graphs.content(own)
        before = graph_of(Pipeline(steps), sample)
        # They must agree on their form; what CatBoost writes is the same in all of these.
        own.ir_version = before.ir_version = graphs.IR_VERSION
        del own.opset_import[:]
        own.opset_import.extend(before.opset_import)
        if all(opset.domain != "ai.onnx.ml" for opset in own.opset_import):
            own.opset_import.add(domain="ai.onnx.ml", version=graphs.OPSETS["ai.onnx.ml"])
        names = before.graph.output[0].name, own.graph.input[0].name
        return graphs.content(merge_models(before, own, io_map=[names], prefix1="steps_"))


def _written(model: Any) -> Any:
    """The graph that CatBoost writes. Raises `MlopsError` when it cannot."""
    import catboost
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            model.save_model(str(path), format="onnx")
        except catboost.CatBoostError as error:
            raise graphs.unconverted(model, error) from error
        return onnx.load(str(path))
