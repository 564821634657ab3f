"""The formats of models there are, by name, and loading a model from a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind
from slipway.training.formats.base import ModelFormat, Scoring
from slipway.training.formats.boosting import CatboostFormat, LightgbmFormat, XgboostFormat
from slipway.training.formats.onnx import OnnxFormat
from slipway.training.formats.skops import SkopsFormat

ONNX: ModelFormat = OnnxFormat()
_ALL: tuple[ModelFormat, ...] = (ONNX, XgboostFormat(), LightgbmFormat(), CatboostFormat(), SkopsFormat())


def named(name: str) -> ModelFormat:
    """The format that `model.json` names. Raises `MlopsError` when this platform does not know it."""
    for form in _ALL:
        if form.name == name:
            return form
    raise MlopsError(
        f"a model is kept in the format {name!r}, and this platform knows {', '.join(form.name for form in _ALL)}",
        "update the platform: mlops template update",
    )


def fitting(estimator: Any) -> str:
    """The formats of libraries that an estimator can be kept in, in words; empty where there is none."""
    return " or ".join(form.name for form in _ALL if form is not ONNX and form.handles(estimator))


def versions(modules: Sequence[str]) -> dict[str, str]:
    """The versions of libraries that are installed here, by the name that they are imported by.

    A library without a version, as the team's own package is, has none here. Raises `MlopsError` for one that is not
    installed.
    """
    found: dict[str, str] = {}
    for name in modules:
        try:
            version = getattr(import_module(name), "__version__", None)
        except ImportError as error:
            raise MlopsError(
                f"the model is read by {name}, which cannot be imported here: {error}",
                "add it to the project's dependencies, where servers look, and not to a group: uv add",
            ) from error
        if version is not None:
            found[name] = str(version)
    return found


def load(
    path: Path, form: ModelFormat, kind: Kind, *, libraries: Mapping[str, str], threads: int, trusted: Sequence[str]
) -> Scoring:
    """Load a model; `libraries` are the versions that wrote it.

    Raises `MlopsError` for another version than that, and for what its format refuses.
    """
    here = versions([*libraries])
    if others := [f"{name} {version}" for name, version in here.items() if version != libraries[name]]:
        wrote = ", ".join(f"{name} {version}" for name, version in libraries.items())
        raise MlopsError(
            f"{path.name} was written by {wrote}, and here is {', '.join(others)}",
            "use the version that wrote it, or train and register with this one",
        )
    return form.load(path, kind, threads=threads, trusted=trusted)
