"""Gradient boosting by LightGBM, XGBoost and CatBoost as ONNX graphs, alone or as the last step of a pipeline."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix
from slipway.training.exporters import graphs

#: What converts the estimators of a library, and the classes it converts.
_CONVERTED = {
    "lightgbm": ("onnxmltools.convert.lightgbm.operator_converters.LightGbm", "convert_lightgbm", "LGBM"),
    "xgboost": ("onnxmltools.convert.xgboost.operator_converters.XGBoost", "convert_xgboost", "XGB"),
}


def register() -> None:
    """Teach skl2onnx the libraries that model.py has loaded, so that they may stand anywhere in a pipeline.

    Raises `MlopsError` where one is loaded and its converter is not installed.
    """
    for library in _CONVERTED:
        if library in sys.modules:
            _register(library)


@cache
def _register(library: str) -> None:
    from importlib import import_module

    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    module, function, prefix = _CONVERTED[library]
    try:
        convert = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        raise MlopsError(
            f"a model of {library} is converted by onnxmltools, which is not installed",
            "uv add --group train onnxmltools",
        ) from error
    classifier = getattr(sys.modules[library], f"{prefix}Classifier")
    regressor = getattr(sys.modules[library], f"{prefix}Regressor")
    update_registered_converter(
        classifier, classifier.__name__, calculate_linear_classifier_output_shapes, convert,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )  # fmt: skip
    update_registered_converter(
        regressor, regressor.__name__, calculate_linear_regressor_output_shapes, convert, options={"split": None}
    )


class CatBoost:
    """See `Exporter` for what each of these is. CatBoost writes the graph itself; steps before it are put in front."""

    def handles(self, estimator: Any) -> bool:
        """A model of CatBoost, or a pipeline that ends in one."""
        return "catboost" in sys.modules and isinstance(graphs.last(estimator), sys.modules["catboost"].CatBoost)

    def export(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """Join the graph of the steps before with that of CatBoost."""
        from onnx.compose import merge_models
        from sklearn.pipeline import Pipeline

        from slipway.training.exporters.sklearn import graph_of

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
