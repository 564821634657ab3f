"""The exporters there are: those that other distributions plug in, then the platform's own."""

from __future__ import annotations

from typing import Any

from slipway.base.errors import MlopsError
from slipway.base.plugins import plugged
from slipway.training.exporters.base import Exporter
from slipway.training.exporters.catboost import CatBoost
from slipway.training.exporters.sklearn import Sklearn
from slipway.training.exporters.torch import Torch

GROUP = "slipway.exporter"

_OWN: tuple[Exporter, ...] = (CatBoost(), Torch(), Sklearn())


def of(estimator: Any) -> Exporter:
    """The exporter that handles an estimator. Raises `MlopsError` when there is none."""
    outside: list[Exporter] = [*plugged(GROUP).values()]
    for exporter in (*outside, *_OWN):
        if exporter.handles(estimator):
            return exporter
    raise MlopsError(
        f"{type(estimator).__name__} in model.py cannot be converted to ONNX: nobody here exports it",
        "use an estimator that vendor/slipway/docs/models.md lists, keep it in its library's own format (model_format "
        f"in params.yaml), or plug in an exporter (entry-point group {GROUP})",
    )
