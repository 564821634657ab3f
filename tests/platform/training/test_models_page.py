"""The page about models says what is so: every estimator of its table is trained, converted and held against it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import skops.io
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.settings.project import Project
from slipway.training import formats, parity, team_code
from slipway.training.formats.base import ModelFormat
from slipway.training.train import convert, learning_set

PAGE = Path(__file__).parents[3] / "template" / "vendor" / "slipway" / "docs" / "models.md"
ROWS = re.findall(
    r"^\| `(.+)` \| (yes|no: [^|]+) \|(?: (none|`\w+`) \|)?$", PAGE.read_text("utf-8"), flags=re.MULTILINE
)
OWN = ["xgboost", "lightgbm", "catboost", "skops"]
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


def outcome(expression: str, own: Sequence[str], project: Project, folder: Path) -> tuple[str, list[str]]:
    """Train and convert as the stage does; return "yes", or what it is refused with, for ONNX and for other formats.

    Of skops every type in the file is trusted.
    """
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
    except MlopsError as error:
        return error.problem, [error.problem]

    def kept(form: ModelFormat) -> str:
        try:
            loaded = convert(estimator, kind, unseen, folder / form.file, form, types_in(estimator, form))
            parity.require_parity_everywhere(estimator, loaded, kind, parity.probes(tested, names), form.file)
        except MlopsError as error:
            return error.problem
        return "yes"

    return kept(formats.ONNX), [kept(form) for form in map(formats.named, own) if form.handles(estimator)]


def types_in(estimator: Any, form: ModelFormat) -> list[str]:
    """The types that a reader of the page would list."""
    if form.name != "skops":
        return []
    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("expression", "told", "own"), ROWS)
def test_what_the_page_says_of_a_model_is_so(
    expression: str, told: str, own: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Asked for here, so that the tests of the other example, which would say the same, leave this out.
    finished = request.getfixturevalue("finished")
    forms = {"": [], "none": OWN}.get(own, [own.strip("`")])
    came, otherwise = outcome(expression, forms, finished, tmp_path)

    assert came == told if told == "yes" else told.removeprefix("no: ") in came
    assert ("yes" in otherwise) is own.startswith("`")


def test_the_page_tells_of_every_library_and_of_what_is_refused() -> None:
    survived = " ".join(expression for expression, told, _ in ROWS if told == "yes")
    kept = {own.strip("`") for _, _, own in ROWS}

    assert len(ROWS) > 40
    assert all(name in survived for name in ("LGBM", "XGB", "CatBoost", "RandomForest", "HistGradientBoosting", "MLP"))
    assert sum(told != "yes" for _, told, _ in ROWS) > 10
    assert all((told == "yes") is not bool(own) for _, told, own in ROWS)
    assert kept >= {*OWN}
