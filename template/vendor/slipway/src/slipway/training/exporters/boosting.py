"""Gradient boosting by LightGBM and XGBoost, made known to skl2onnx."""

from __future__ import annotations

import sys
from functools import cache

from slipway.base.errors import MlopsError

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
