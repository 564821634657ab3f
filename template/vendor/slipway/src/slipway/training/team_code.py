"""Asking the team's modules for features, a target and estimators, and refusing what nothing can be learned from.

A server skips these checks: what it loads has passed them, and its golden rows prove it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slipway import team
from slipway.base.errors import MlopsError
from slipway.base.numbers import counted
from slipway.contract.columns import Column, Columns
from slipway.kinds.base import Kind, Matrix
from slipway.settings.project import Project
from slipway.team import Features
from slipway.training.bundle import ModelFacts

PAGE = "vendor/slipway/docs/columns.md"

#: What an array holds that is no number, by numpy's letter for it.
_HOLDS = {"U": "texts", "S": "bytes", "O": "objects", "M": "times", "m": "spans of time", "c": "complex numbers"}


def features_of(compute: Features, rows: Columns) -> Mapping[str, Column]:
    """What the team's `features` makes of training rows.

    Raises `MlopsError` that names the feature which is no number for each row.
    """
    with _told("features.py", rows):
        computed: Mapping[str, Column] = compute(rows)
    if not isinstance(computed, Mapping) or not computed:
        raise MlopsError("features.py gives no features", "return a dict with one value per row for each name")
    many = _rows_in(rows)
    for name, values in computed.items():
        _require_numbers(f"features.py gives for the feature {name}", np.asarray(values), many, is_one=False)
    return computed


def column_names(names: Sequence[str], columns: int) -> list[str]:
    """What to call each column of a feature matrix: by its feature, where none has several.

    >>> column_names(["hour", "day"], 2), column_names(["pixels"], 3)
    (['hour', 'day'], ['column 1 of pixels', 'column 2 of pixels', 'column 3 of pixels'])
    """
    if len(names) == columns:
        return [*names]
    return [f"column {number} of {', '.join(names)}" for number in range(1, columns + 1)]


def target_of(outcomes: Columns) -> Column:
    """What the model learns. Raises `MlopsError` when that is no number for each row."""
    with _told("model.py, target,", outcomes):
        truth = np.asarray(team.model.target(outcomes))
    _require_numbers("target in model.py gives", truth, _rows_in(outcomes))
    if unknown := int((~np.isfinite(truth)).sum()):
        raise MlopsError(
            f"target in model.py gives no finite number for {unknown:,} of {counted(len(truth), 'row')}",
            f"leave out rows without an outcome (split.missing_outcomes in params.yaml), or give them one; see {PAGE}",
        )
    return _places(truth, classes) if (classes := team.classes()) else truth


def other_classes(facts: ModelFacts) -> str:
    """Say that a model has other classes than model.py names; empty where they are the same."""
    named = team.classes()
    if named == tuple(facts.classes):
        return ""
    theirs = f"the classes {', '.join(facts.classes)}" if facts.classes else "no classes"
    return f"it has {theirs}, and model.py names {', '.join(named) or 'none'}"


def require_classes(facts: ModelFacts, which: str) -> None:
    """Refuse to measure a model of other classes; `which` says whose it is, in words."""
    if apart := other_classes(facts):
        raise MlopsError(
            f"{which} cannot be measured by what this checkout calls a class: {apart}",
            "git checkout the commit that trained it, or train, register and promote one with these classes",
        )


def _places(truth: Column, classes: tuple[str, ...]) -> Column:
    """Refuse what is no place in CLASSES."""
    if wrong := int((~np.isin(truth, np.arange(len(classes)))).sum()):
        raise MlopsError(
            f"target in model.py gives for {wrong:,} of {counted(len(truth), 'row')} no place in CLASSES, "
            f"which are 0 to {len(classes) - 1}",
            "let it give the place of a row's class, and leave out rows of no class "
            "(split.missing_outcomes in params.yaml)",
        )
    return truth.astype(np.int64)


def estimators_of(project: Project, names: list[str]) -> dict[str, Any]:
    """The untrained model and its baseline; raises as `model_of` does."""
    with _told("model.py, baseline,"):
        baseline = team.model.baseline(names, project.params.seed)
    return {"model": model_of(project), "baseline": baseline}


def model_of(project: Project, changes: Mapping[str, Any] | None = None, seed: int | None = None) -> Any:
    """The untrained model, with `changes` of its parameters or another seed.

    Raises `MlopsError` for parameters that `build` does not take.
    """
    params = project.params
    with _told("model.py, build,", next_step="look at model in params.yaml, which is handed to build as it stands"):
        return team.model.build(params.seed if seed is None else seed, **params.model | dict(changes or {}))


def require_learnable(kind: Kind, truth: Column) -> None:
    """Refuse a target of training rows that a kind of answer cannot be learned from."""
    if reason := kind.unlearnable(truth):
        raise MlopsError(
            f"nothing can be learned: target in model.py, of the training rows, {reason}",
            f"compare with codes, not texts, in target ({PAGE}), or split otherwise in params.yaml",
        )


def require_finite(names: list[str], rows: Matrix) -> None:
    """Refuse features that a 32-bit number cannot hold; NaN says that a value is missing."""
    infinite = np.isinf(rows).sum(axis=0)
    if infinite.any():
        worst = int(infinite.argmax())
        called = column_names(names, rows.shape[1])[worst]
        raise MlopsError(
            f"features.py gives for the feature {called} an infinite value, or one beyond 3e38, "
            f"in {infinite[worst]:,} of {counted(len(rows), 'row')}",
            "mend features.py: a division by zero, or the logarithm of zero, makes such values",
        )


def constant(names: list[str], rows: Matrix) -> list[str]:
    """The features that have the same value in every row: nothing is learned from them."""
    if len(names) < rows.shape[1]:  # a corner of pictures may always be empty
        return []
    return [name for name, column in zip(names, rows.T, strict=True) if (column == column[0]).all()]


def fit(name: str, estimator: Any, names: list[str], rows: Matrix, truth: Column) -> None:
    """Fit the model or the baseline. Raises `MlopsError` with what the estimator says against these rows.

    Yes and no are given as 1 and 0: converters of some libraries know no other names of classes.
    """
    try:
        estimator.fit(rows, truth.astype(np.int64) if truth.dtype == bool else truth)
    except Exception as error:
        missing = zip(column_names(names, rows.shape[1]), np.isnan(rows).sum(axis=0).tolist(), strict=True)
        gaps = ", ".join(f"{feature} ({many:,})" for feature, many in missing if many)
        advice = f"; values are missing in {gaps}: fill them in features.py, or use an estimator that takes them"
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise MlopsError(
            f"the {name} in model.py cannot learn from these rows: {said[0]}",
            "mend model.py, features.py or what params.yaml hands to model.py" + (advice if gaps else ""),
        ) from error


def _require_numbers(what: str, values: NDArray[Any], rows: int, *, is_one: bool = True) -> None:
    if values.dtype.kind not in "biuf":
        held = _HOLDS.get(values.dtype.kind, str(values.dtype))
        example = f", like {values.flat[0]!s:.40}" if values.size else ""
        raise MlopsError(f"{what} {held}{example}, and a model takes numbers", f"turn them into numbers: {PAGE}")
    if values.shape != (rows,) and (is_one or values.shape[:1] != (rows,) or values.size == 0):
        raise MlopsError(
            f"{what} values of the shape {list(values.shape)} for {counted(rows, 'row')}",
            f"give one value for each row: {PAGE}",
        )


def _rows_in(columns: Columns) -> int:
    return len(next(iter(columns.values())))


@contextmanager
def _told(place: str, columns: Columns | None = None, next_step: str = "") -> Iterator[None]:
    """Turn what the team's code raises into a sentence with its line; a column that is not there is named."""
    try:
        yield
    except MlopsError:
        raise
    except KeyError as error:
        if columns is None or not error.args or error.args[0] in columns:
            raise _raised(place, error, next_step) from error
        raise MlopsError(
            f"{place} asks{_line(error)} for the column {error.args[0]}, which is not there",
            f"choose from {', '.join(columns)}",
        ) from error
    except Exception as error:
        raise _raised(place, error, next_step) from error


def _raised(place: str, error: Exception, next_step: str) -> MlopsError:
    said = (str(error).splitlines() or [""])[0]
    problem = f"{place} raises {type(error).__name__}{_line(error)}: {said[:200]}"
    return MlopsError(problem, next_step or f"mend it; see {PAGE}")


def _line(error: Exception) -> str:
    """Where in the team's package it was raised."""
    theirs = [one for one in traceback.extract_tb(error.__traceback__) if f"/{team.PACKAGE}/" in one.filename]
    return f" in line {theirs[-1].lineno}, `{theirs[-1].line}`" if theirs else ""
