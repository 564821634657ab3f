"""The formats of gradient boosting: UBJSON of XGBoost, the text of LightGBM, and the binary format of CatBoost.

Each is tables of trees that the library's own parser reads.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slipway.kinds.base import Kind, Matrix, Scores
from slipway.training.formats.base import Scoring, unkept


def _is_of(library: str, name: str, estimator: Any) -> bool:
    """Whether an estimator is an object of a class; of a library that is not loaded, nothing is."""
    return library in sys.modules and isinstance(estimator, getattr(sys.modules[library], name))


def _scored(predict: Any, kind: Kind, rows: Matrix) -> Scores:
    """The scores in what a library gives: a column for each class, or the one number of each row."""
    return kind.scores(np.asarray(predict(rows), dtype=np.float32).reshape(len(rows), -1))


class XgboostFormat:
    """See `ModelFormat` for what each of these is."""

    name, file, platform = "xgboost", "model.ubj", "xgboost_ubj"
    packages = ("xgboost", "xgboost-cpu")

    def handles(self, estimator: Any) -> bool:
        """An estimator of XGBoost by itself."""
        return _is_of("xgboost", "XGBModel", estimator)

    def content(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """What XGBoost writes, without what only its estimators for scikit-learn know."""
        del kind, sample
        return bytes(estimator.get_booster().save_raw("ubj"))

    def modules(self, path: Path) -> Sequence[str]:
        """XGBoost."""
        del path
        return ("xgboost",)

    def load(self, path: Path, kind: Kind, *, threads: int, trusted: Sequence[str]) -> Scoring:
        """A booster that takes rows as they are."""
        import xgboost

        del trusted
        booster = xgboost.Booster()
        booster.load_model(path)
        booster.set_param({"nthread": threads})
        return partial(_scored, booster.inplace_predict, kind)


class LightgbmFormat:
    """See `ModelFormat` for what each of these is."""

    name, file, platform = "lightgbm", "model.txt", "lightgbm_text"
    packages = ("lightgbm",)

    def handles(self, estimator: Any) -> bool:
        """An estimator of LightGBM by itself."""
        return _is_of("lightgbm", "LGBMModel", estimator)

    def content(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """The text that LightGBM writes."""
        del kind, sample
        text: str = estimator.booster_.model_to_string()
        return text.encode()

    def modules(self, path: Path) -> Sequence[str]:
        """LightGBM."""
        del path
        return ("lightgbm",)

    def load(self, path: Path, kind: Kind, *, threads: int, trusted: Sequence[str]) -> Scoring:
        """A booster."""
        import lightgbm

        del trusted
        booster = lightgbm.Booster(model_file=path)
        return partial(_scored, partial(booster.predict, num_threads=threads), kind)


class CatboostFormat:
    """See `ModelFormat` for what each of these is."""

    name, file, platform = "catboost", "model.cbm", "catboost_cbm"
    packages = ("catboost",)

    def handles(self, estimator: Any) -> bool:
        """An estimator of CatBoost by itself."""
        return _is_of("catboost", "CatBoost", estimator)

    def content(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """What CatBoost writes, without the moment and the number of the training, which differ each time."""
        import catboost

        del kind, sample
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.file
            try:
                facts = estimator.get_metadata()
                for changing in {"train_finish_time", "model_guid"} & {*facts.keys()}:
                    del facts[changing]
                estimator.save_model(str(path), format="cbm")
            except catboost.CatBoostError as error:
                raise unkept(estimator, self.name, error) from error
            return path.read_bytes()

    def modules(self, path: Path) -> Sequence[str]:
        """CatBoost."""
        del path
        return ("catboost",)

    def load(self, path: Path, kind: Kind, *, threads: int, trusted: Sequence[str]) -> Scoring:
        """The estimator, which knows whether it gives probabilities, quantities or their logarithms."""
        import catboost

        del trusted
        estimator = catboost.CatBoostClassifier() if kind.is_chance else catboost.CatBoostRegressor()
        estimator.load_model(str(path))
        ask = estimator.predict_proba if kind.is_chance else estimator.predict
        return partial(_scored, partial(ask, thread_count=threads or -1), kind)
