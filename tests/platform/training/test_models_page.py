"""The page about models says what is so: every estimator of its table is trained, converted and held against it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.settings.project import Project
from slipway.training import parity, team_code
from slipway.training.formats.onnx import OnnxModel
from slipway.training.train import convert, learning_set

PAGE = Path(__file__).parents[3] / "template" / "vendor" / "slipway" / "docs" / "models.md"
ROWS = re.findall(r"^\| `(.+)` \| (yes|no: .+) \|$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
#: Enough for trees of some depth, and for missing values in all of them.
LEARNED = 3_000


def named(columns: list[str]) -> dict[str, Any]:
    """What the expressions of the table are made of."""
    import sklearn.utils
    from catboost import CatBoostClassifier, CatBoostRegressor
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from xgboost import XGBClassifier, XGBRegressor

    carrier = columns.index("carrier")
    boosting = (CatBoostClassifier, CatBoostRegressor, LGBMClassifier, LGBMRegressor, XGBClassifier, XGBRegressor)
    return {
        **dict(sklearn.utils.all_estimators()),
        **{one.__name__: one for one in boosting},
        "CARRIER": carrier,
        "TYPES": ["c" if name == "carrier" else "q" for name in columns],
        "filled": lambda *steps: make_pipeline(SimpleImputer(), *steps),
        "encoded": lambda encoder: ColumnTransformer([("carrier", encoder, [carrier])], remainder="passthrough"),
        "make_pipeline": make_pipeline,
    }


def outcome(expression: str, project: Project, folder: Path) -> str:
    """Train and convert as the stage does; return "yes", or what it is refused with."""
    names, rows, truth = learning_set(project.root / "data" / "train.parquet")
    tested = pl.read_parquet(project.root / "data" / "test.parquet")
    _, unseen, _ = learning_set(project.root / "data" / "test.parquet")
    estimator = eval(expression, named(names))
    kind = kinds.of(estimator)
    few = slice(None, None, max(1, len(rows) // LEARNED))
    if kind.name == "number":
        truth = rows[:, names.index("distance")] / 10 + np.arange(len(rows)) % 20
    try:
        team_code.fit("model", estimator, names, rows[few], truth[few])
        convert(estimator, kind, unseen, folder / "model.onnx")
        converted = OnnxModel(folder / "model.onnx", kind)
        parity.require_parity_everywhere(estimator, converted, kind, parity.probes(tested, names))
    except MlopsError as error:
        return error.problem
    return "yes"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("expression", "told"), ROWS)
def test_what_the_page_says_of_a_model_is_so(
    expression: str, told: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Asked for here, so that the tests of the other example, which would say the same, leave this out.
    finished = request.getfixturevalue("finished")
    came = outcome(expression, finished, tmp_path)

    assert came == told if told == "yes" else told.removeprefix("no: ") in came


def test_the_page_tells_of_every_library_and_of_what_is_refused() -> None:
    survived = " ".join(expression for expression, told in ROWS if told == "yes")

    assert len(ROWS) > 40
    assert all(name in survived for name in ("LGBM", "XGB", "CatBoost", "RandomForest", "HistGradientBoosting", "MLP"))
    assert sum(told != "yes" for _, told in ROWS) > 10
