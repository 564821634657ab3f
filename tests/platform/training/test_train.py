"""What `train` refuses, whatever the team's model is."""

import numpy as np
import pytest
import slipway
from flight_delays import model as team
from flight_delays.features import features
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.contract.columns import Column, Columns
from slipway.settings.project import Project
from slipway.training import scoring
from slipway.training.bundle import Bundle
from slipway.training.parity import require_parity
from slipway.training.train import convert, learning_set, train


def test_a_baseline_that_answers_in_another_way_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    is_class = Bundle(project.root / "model").model.kind != "number"
    other = DummyRegressor() if is_class else DummyClassifier()
    monkeypatch.setattr(team, "baseline", lambda *_: other)

    with pytest.raises(MlopsError, match=r"give different kinds of answers|names CLASSES, and DummyRegressor"):
        train(project)


def test_a_conversion_that_changes_the_scores_is_refused() -> None:
    before = np.linspace(0, 1, 1000, dtype=np.float32)

    kind = kinds.named("class")
    require_parity(before, before + 1e-6, kind, "model.onnx")
    with pytest.raises(MlopsError, match="other scores than the estimator"):
        require_parity(before, before + 0.01, kind, "model.onnx")


class Homemade(BaseEstimator):  # type: ignore[misc]
    """An estimator that nobody can convert."""


def test_an_estimator_without_a_converter_is_refused(finished: Project) -> None:
    _, unseen, _ = learning_set(finished.root / "data" / "test.parquet")
    with pytest.raises(MlopsError, match=r"Homemade in model\.py cannot be converted to ONNX"):
        convert(Homemade(), kinds.named("number"), unseen, finished.root / "model" / "never.onnx")


@pytest.mark.parametrize("rows", [3, 1, 0])
def test_a_feature_of_several_values_has_a_column_for_each(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(rows * 4).reshape(rows, 2, 2)
    made = {"first": np.arange(rows), "pixels": pixels, "is_last": np.arange(rows) == rows - 1}
    monkeypatch.setitem(vars(slipway.team), "features", lambda _: made)

    names, stacked = scoring.matrix({}, ["first", "pixels", "is_last"])

    assert names == [*made]
    assert stacked.dtype == np.float32
    columns = [made["first"], *pixels.reshape(rows, 4).T, made["is_last"]]
    assert np.array_equal(stacked, np.stack(columns, axis=1))


def test_values_that_fall_together_in_32_bits_are_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 1_356_998_400 + 30.0 * np.arange(3000)
    made = {"epoch": seconds, "since": seconds - seconds[0], "share": np.random.default_rng(1).random(100_000)}

    monkeypatch.setitem(vars(slipway.team), "features", lambda _: made)
    (told,) = scoring.merged({})

    assert told.startswith("the 3,000 values of epoch become 704, as the model sees numbers of 32 bits")

    def with_epoch(rows: Columns) -> dict[str, Column]:
        known = features(rows)
        return known | {"epoch": 1_356_998_400 + np.arange(len(next(iter(known.values()))))}

    monkeypatch.setitem(vars(slipway.team), "features", with_epoch)
    train(project)
    assert "values of epoch become" in capsys.readouterr().err
