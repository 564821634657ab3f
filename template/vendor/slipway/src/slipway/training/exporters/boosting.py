"""Gradient boosting by LightGBM and XGBoost, made known to skl2onnx."""

from __future__ import annotations

import sys
from functools import cache

#: What converts the estimators of a library, and the classes it converts.
_CONVERTED = {
    "lightgbm": ("onnxmltools.convert.lightgbm.operator_converters.LightGbm", "convert_lightgbm", "LGBM"),
    "xgboost": ("onnxmltools.convert.xgboost.operator_converters.XGBoost", "convert_xgboost", "XGB"),
}


def register() -> list[str]:
    """Teach skl2onnx the libraries that are loaded, so that they may stand anywhere in a pipeline.

    Return those whose converter is not installed: the estimator may be of another one.
    """
    return [library for library in _CONVERTED if library in sys.modules and not _is_registered(library)]


@cache
def _is_registered(library: str) -> bool:
    from importlib import import_module

    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    module, function, prefix = _CONVERTED[library]
    try:
        convert = getattr(import_module(module), function)
    except ModuleNotFoundError:
        return False
    classifier = getattr(sys.modules[library], f"{prefix}Classifier")
    regressor = getattr(sys.modules[library], f"{prefix}Regressor")
    update_registered_converter(
        classifier, classifier.__name__, calculate_linear_classifier_output_shapes, convert,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )  # fmt: skip
    update_registered_converter(
        regressor, regressor.__name__, calculate_linear_regressor_output_shapes, convert, options={"split": None}
    )
    return True
