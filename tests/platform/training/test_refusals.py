"""What the team's code may not give: said in one sentence that names the feature, the line or the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays import model as theirs
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.contract.rows import Contract, Row
from slipway.data import prepare
from slipway.data.prepare import _with_outcome
from slipway.kinds.base import alike
from slipway.settings.params import SplitParams
from slipway.settings.project import Project
from slipway.training import export as exporting
from slipway.training import team_code
from slipway.training.bundle import Bundle
from slipway.training.parity import require_parity
from slipway.training.train import convert, train

ROWS = {"size": np.array([1.0, 2.0, np.nan]), "colour": np.array([0, 1, -1]), "note": np.array(["a", "", "12"])}


def asked(features: Any) -> Any:
    return team_code.features_of(features, ROWS)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (lambda rows: {"note": rows["note"]}, "gives for the feature note texts, like a, and a model takes numbers"),
        (lambda rows: {"when": rows["size"].astype("datetime64[s]")}, "feature when times, like"),
        (lambda _: {"o": np.array([None, 1, 2])}, "feature o objects, like None"),
        (lambda rows: {"mean": rows["size"].mean()}, r"feature mean values of the shape \[\] for 3 rows"),
        (lambda rows: {"few": rows["size"][:1]}, r"feature few values of the shape \[1\] for 3 rows"),
        (lambda _: {"wide": np.ones((2, 3))}, r"feature wide values of the shape \[2, 3\] for 3 rows"),
        (lambda rows: {"x": rows["sise"]}, "features.py asks for the column sise, which is not there"),
        (lambda _: {"x": 1 // 0}, "features.py raises ZeroDivisionError: integer division"),
        (lambda _: {}, "features.py gives no features"),
        (lambda _: None, "features.py gives no features"),
    ],
)  # fmt: skip
def test_a_feature_that_is_no_number_for_each_row_is_named(features: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(MlopsError, match=said):
        asked(features)


def test_numbers_flags_and_codes_are_features() -> None:
    """So are several of them for each row, such as the pixels of a picture."""
    given = {"size": ROWS["size"], "is_red": ROWS["colour"] == 0, "colour": ROWS["colour"], "wide": np.ones((3, 2))}

    assert asked(lambda _: given) is given


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(
        MlopsError, match=r"model\.py, target, asks in line .* for the column arr_delay,.*\n next: choose f"
    ):
        team_code.target_of(ROWS)


def test_the_line_that_raises_is_named() -> None:
    with pytest.raises(MlopsError, match=r"model\.py, target, raises .* in line \d+, `.*arr_delay.*`: "):
        team_code.target_of({"arr_delay": np.array(["a", "b"])})


TARGETS: list[tuple[Callable[[int], NDArray[Any]], str, str]] = [
    (lambda n: np.arange(n) % 3, "has the values 0, 1, 2, and an answer is yes or no, 1 or 0", ""),
    (lambda n: np.arange(n) % 2 + 1, "has the values 1, 2, and an answer is yes or no", ""),
    (lambda n: np.arange(n), "has the values 0, 1, 2, 3, 4 and more, and", ""),
    (lambda n: np.zeros(n, bool), "is no in all [0-9,]+ of them", "is 0 in all"),
    (lambda n: np.ones(n), "is yes in all [0-9,]+ of them", "is 1 in all"),
    (lambda n: np.array(["yes", "no"] * n)[:n], "target in model.py gives texts, like yes", "gives texts, like yes"),
    (lambda n: np.where(np.arange(n) < 2, np.nan, 1.0), "no finite number for 2 of", "no finite number for 2 of"),
    (lambda n: np.ones(n - 1), r"gives values of the shape \[[0-9]+\] for", r"gives values of the shape"),
]


IS_CLASS = kinds.of(theirs.build(0)).name == "class"


# A quantity may have any values that are numbers: those rows have nothing to say for it.
@pytest.mark.parametrize(
    ("target", "said"),
    [(target, said) for target, *each in TARGETS if (said := each[0] if IS_CLASS else each[1])],
)
def test_a_target_that_cannot_be_learned_is_refused_before_anything_is_fitted(
    project: Project, monkeypatch: pytest.MonkeyPatch,
    target: Callable[[int], NDArray[Any]], said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(theirs, "target", lambda outcomes: target(len(next(iter(outcomes.values())))))
    monkeypatch.setattr(team_code, "fit", lambda *_: pytest.fail("it was fitted, and nothing can be learned"))

    with pytest.raises(MlopsError, match=said) as refused:
        train(project)

    assert "\n" not in refused.value.problem


def test_what_an_estimator_says_against_missing_values_names_their_features(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theirs, "build", lambda *_, **__: LogisticRegression() if IS_CLASS else LinearRegression())

    with pytest.raises(MlopsError, match=r"the model in model\.py cannot learn from these rows: Input X contains NaN"):
        train(project)


def test_a_parameter_that_build_does_not_take_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "build", lambda _, depth=3: depth)

    with pytest.raises(MlopsError, match=r"unexpected keyword argument .*\n next: look at model in params\.yaml"):
        train(project)


@pytest.mark.parametrize("strategy", ["prior", "most_frequent", "constant"])
@pytest.mark.parametrize("is_piped", [False, True])
def test_a_prior_is_a_baseline(tmp_path: Any, strategy: str, *, is_piped: bool) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    rows[0, 0] = np.nan
    dummy = DummyClassifier(strategy=strategy, constant=True if strategy == "constant" else None)
    estimator = make_pipeline(SimpleImputer(), dummy) if is_piped else dummy
    estimator.fit(rows, np.arange(50) % 5 == 0)

    convert(estimator, kinds.named("class"), rows, tmp_path / "baseline.onnx")  # it proves the scores


def test_a_mean_is_a_baseline_and_chance_is_none(tmp_path: Any) -> None:
    rows, truth = np.ones((9, 2), np.float32), np.arange(9) * 1e-7

    convert(DummyRegressor().fit(rows, truth), kinds.named("number"), rows, tmp_path / "baseline.onnx")

    chance = DummyClassifier(strategy="stratified").fit(rows, truth > 0)
    with pytest.raises(MlopsError, match="answers by chance with strategy='stratified'"):
        convert(chance, kinds.named("class"), rows, tmp_path / "baseline.onnx")


def test_small_quantities_are_answered_and_compared_by_their_own_size(finished: Project) -> None:
    number = kinds.named("number")
    scores = np.linspace(1e-7, 2e-7, 1000, dtype=np.float32)

    assert number.answers(np.array([1.5e-7, 12.3, 0.0], np.float32), 0.5) == [1.5e-7, 12.3, 0.0]
    require_parity(scores, scores * np.float32(1 + 1e-6), number, "model.onnx")
    with pytest.raises(MlopsError, match="other scores than the estimator"):
        require_parity(scores, scores[::-1], number, "model.onnx")
    assert not alike(scores, scores * 2, number.rounding).any()
    assert alike(
        np.array([1e-9, 0.5], np.float32), np.array([5e-8, 0.5], np.float32), kinds.named("class").rounding
    ).all()


def test_a_golden_score_keeps_its_digits(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    was = exporting._scored
    monkeypatch.setattr(exporting, "_scored", lambda *given: was(*given).with_columns(pl.col("score") * 1e-9))
    monkeypatch.setattr(exporting, "expected", lambda *_: {})

    exporting.export(project)

    assert all(score and score != np.round(score, 7) for score in Bundle(project.bundle).golden.scores)


@pytest.mark.parametrize(("rule", "left"), [("drop", 2), ("keep", 3)])
def test_rows_without_an_outcome_are_refused_or_follow_the_rule(
    rule: Any, left: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = msgspec.defstruct("Box", [("size", int)], bases=(Row,))
    outcome = msgspec.defstruct("Way", [("broken", int | None)], bases=(Row,))
    monkeypatch.setattr(prepare, "CONTRACT", Contract(row=row, outcome=outcome, key=("size",)))  # type: ignore[arg-type]
    frame = pl.DataFrame({"size": [1, 2, 3], "broken": [0, None, 1], "source_row": ["a.csv:1", "a.csv:2", "a.csv:3"]})

    with pytest.raises(MlopsError, match=r"1 of 3 rows have no broken, first a\.csv:2\n next: in params\.yaml"):
        _with_outcome(frame, SplitParams(by="digest"))

    assert _with_outcome(frame, SplitParams(by="digest", missing_outcomes=rule)).height == left
    assert ("left out 1 row without broken" in capsys.readouterr().err) == (rule == "drop")
