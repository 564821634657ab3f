"""The kinds of answers there are: those of the platform, and those that other distributions plug in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slipway.base.errors import MlopsError
from slipway.base.plugins import plugged
from slipway.kinds.base import Kind
from slipway.kinds.binary import Binary
from slipway.kinds.multiclass import Multiclass
from slipway.kinds.number import Number

GROUP = "slipway.kind"

_OWN: tuple[Kind, ...] = (Multiclass(), Binary(), Number())


def named(name: str, classes: Sequence[str] = ()) -> Kind:
    """The kind and the classes that `model.json` names. Raises `MlopsError` when nobody here brings it."""
    for own in _OWN:
        if own.name == name:
            return own.with_classes(classes)
    for kind in _plugged():
        if kind.name == name:
            return kind.with_classes(classes)
    raise MlopsError(
        f"a model gives answers of the kind {name!r}, which nobody here brings",
        f"install the distribution that names it in its entry points, group {GROUP}",
    )


def of(estimator: Any, classes: Sequence[str] = ()) -> Kind:
    """The kind of answer that an estimator gives: a plugged-in one is asked first, a quantity last.

    `classes` are those that model.py names. Raises `MlopsError` when none handles it, or not with classes.
    """
    for kind in (one.with_classes(classes) for one in (*_plugged(), *_OWN)):
        if kind.handles(estimator):
            if classes and not kind.classes:
                raise MlopsError(
                    f"model.py names CLASSES, and {type(estimator).__name__} gives no probability of each",
                    "use a classifier, or leave CLASSES out",
                )
            return kind
    raise MlopsError(
        f"{type(estimator).__name__} in model.py gives no kind of answer that is known: it has no method predict",
        f"use an estimator like those of scikit-learn, or plug in a kind (entry-point group {GROUP})",
    )


def _plugged() -> list[Kind]:
    return [*plugged(GROUP).values()]
