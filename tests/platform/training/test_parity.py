"""Conversion is proven on what the contract allows, not only on what test rows happen to hold."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.contract.columns import Column, Columns
from slipway.kinds.base import Matrix
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training import exporters, parity
from slipway.training.exporters import boosting
from slipway.training.formats.onnx import OnnxModel
from slipway.training.train import convert, learned_from, learning_set

KIND = kinds.named("class")


@pytest.fixture(scope="module")
def tested(finished: Project) -> pl.DataFrame:
    """Test rows without a missing value."""
    return pl.read_parquet(finished.root / "data" / "test.parquet").drop_nulls()


@pytest.fixture(scope="module")
def learned(finished: Project) -> tuple[list[str], Matrix, Any]:
    """Names, features and truth of the training rows."""
    names, rows, truth = learning_set(finished.root / "data" / "train.parquet")
    return names, rows, (truth > np.median(truth)).astype(int)


def prove(estimator: Any, names: list[str], tested: pl.DataFrame, folder: Path) -> None:
    """Convert a fitted estimator, which its test rows allow, and prove it on every value of the contract."""
    convert(estimator, KIND, learned_from(tested)[1], folder / "model.onnx")
    parity.require_parity_everywhere(
        estimator, OnnxModel(folder / "model.onnx", KIND), KIND, parity.probes(tested, names)
    )


def test_every_category_bound_and_missing_value_of_the_contract_is_tried(tested: pl.DataFrame) -> None:
    names = learned_from(tested)[0]
    made = {probe.words: probe.rows for probe in parity.probes(tested, names)}

    optional = [field.name for field in CONTRACT.fields if field.optional]
    assert {f"{name} is missing" for name in optional} <= made.keys()
    assert {"carrier is YV", "carrier is 9E", "origin is LGA", "distance is 10", "distance is 6,000"} <= made.keys()
    assert np.isnan(made["temp is missing"][:, names.index("temp")]).all()
    assert (made["distance is 6,000"][:, names.index("distance")] == 6000).all()
    assert (made["carrier is YV"][:, names.index("carrier")] == 15).all()


def test_trees_that_forget_where_a_missing_value_goes_are_refused(
    learned: tuple[list[str], Matrix, Any], tested: pl.DataFrame, tmp_path: Path
) -> None:
    names, rows, truth = learned
    forest = RandomForestClassifier(n_estimators=10, random_state=7).fit(rows, truth)

    with pytest.raises(MlopsError, match=r"other scores .* on \d+ of 40 rows in which \w+ is missing: up to 0\.\d+ ap"):
        prove(forest, names, tested, tmp_path)


def test_a_model_that_has_no_answer_for_what_the_contract_allows_is_refused(
    learned: tuple[list[str], Matrix, Any], tested: pl.DataFrame, tmp_path: Path
) -> None:
    names, rows, truth = learned
    whole = ~np.isnan(rows).any(axis=1)
    line = LogisticRegression(max_iter=2000).fit(rows[whole], truth[whole])
    with pytest.raises(
        MlopsError, match=r"no answer for rows in which temp is missing, as contract.*Input X contains NaN"
    ):
        prove(line, names, tested, tmp_path)

    carrier, seen = names.index("carrier"), learned_from(tested)[1]
    known = whole & np.isin(rows[:, carrier], np.unique(seen[:, carrier])) & (rows[:, carrier] != 0)
    encoder = ColumnTransformer([("carrier", OneHotEncoder(sparse_output=False), [carrier])])
    strict = make_pipeline(encoder, LogisticRegression()).fit(rows[known], truth[known])
    without = tested.filter(pl.col("carrier") != "9E").filter(pl.col("carrier").is_in(_carriers(rows[known, carrier])))
    with pytest.raises(MlopsError, match=r"no answer for rows in which carrier is 9E, as contract.*unknown cat"):
        prove(strict, names, without, tmp_path)


def _carriers(codes: Matrix) -> list[str]:
    (field,) = (field for field in CONTRACT.fields if field.name == "carrier")
    return [field.categories[int(code)] for code in np.unique(codes)]


def test_a_graph_of_catboost_says_nothing_of_when_it_was_made(learned: tuple[list[str], Matrix, Any]) -> None:
    from catboost import CatBoostClassifier

    _, rows, truth = learned

    def made() -> bytes:
        model = CatBoostClassifier(iterations=3, verbose=0, random_seed=7, allow_writing_files=False).fit(rows, truth)
        return exporters.of(model).export(model, KIND, rows)

    one, other = made(), made()
    assert one == other
    assert b"train_finish_time" not in one
    assert b"model_guid" not in one


@pytest.fixture
def no_converter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LightGBM is loaded, and what converts it is not installed."""
    from lightgbm import LGBMClassifier
    from skl2onnx._supported_operators import sklearn_operator_name_map

    boosting._is_registered.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxmltools.convert.lightgbm.operator_converters.LightGbm", None)
    monkeypatch.delitem(sklearn_operator_name_map, LGBMClassifier, raising=False)
    yield
    boosting._is_registered.cache_clear()


@pytest.mark.usefixtures("no_converter")
def test_a_library_without_its_converter_is_told(learned: tuple[list[str], Matrix, Any]) -> None:
    from lightgbm import LGBMClassifier

    _, rows, truth = learned
    model = LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, truth)

    with pytest.raises(MlopsError, match="models of lightgbm are converted by onnxmltools, which is not ins") as told:
        exporters.of(model).export(model, KIND, rows)
    assert "uv add --group train onnxmltools" in str(told.value)


@pytest.mark.usefixtures("no_converter")
def test_a_converter_that_no_model_needs_is_not_asked_for(learned: tuple[list[str], Matrix, Any]) -> None:
    _, rows, truth = learned
    model = LogisticRegression(max_iter=5000).fit(np.nan_to_num(rows)[:, :5], truth)

    assert exporters.of(model).export(model, KIND, rows[:, :5])


def test_features_that_come_and_go_with_the_rows_are_refused(
    tested: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = team.features

    def sometimes(rows: Columns) -> dict[str, Column]:
        gaps = {"gap": np.isnan(rows["temp"])} if np.isnan(rows["temp"]).any() else {}
        return {**known(rows), **gaps}

    monkeypatch.setitem(vars(team), "features", sometimes)
    names = learned_from(tested)[0]

    with pytest.raises(MlopsError, match="gives other features for rows in which temp is missing: gap"):
        list(parity.probes(tested, names))
