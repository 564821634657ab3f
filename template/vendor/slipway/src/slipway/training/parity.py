"""Does the converted model say what the estimator says, for every row that the contract lets in?

Test rows are not enough. Converters are known to lose rare categories that an encoder folds together, the side to which
a tree sends missing values, and how a calibration goes on beyond the scores it has seen. Rows with such values are made
here from test rows, one value of one field at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from slipway.base.errors import MlopsError
from slipway.contract.frames import columns, spread
from slipway.contract.rows import Field, FieldKind
from slipway.kinds.base import Kind, Matrix, Scores, alike
from slipway.team import CONTRACT
from slipway.training import formats
from slipway.training.formats.base import Scoring
from slipway.training.scoring import matrix

#: Largest difference between the estimator's and the converted model's scores, as a part of their usual size.
PARITY = 1e-4
#: How many test rows get each value, and in which part of them the scores may differ.
ROWS, APART = 40, 0.1
_NEXT = (
    "choose another estimator in model.py, or another step before it, or keep the model in its library's own format "
    "(model_format in params.yaml); vendor/slipway/docs/models.md tells what survives in which"
)


class Probe(NamedTuple):
    """Rows that are alike in one field, and in words what they have there."""

    words: str
    rows: Matrix


def require_parity(before: Scores, after: Scores, kind: Kind, name: str) -> None:
    """Refuse a conversion that changes what the model says of test rows, whatever the unit of the scores.

    A tree may send a row that lies on a threshold to the other side in 32-bit numbers, so
    one row in a thousand may differ by more than rounding.
    """
    apart = ~alike(before, after, kind.rounding, part=PARITY)
    if apart.mean() > 0.001:
        raise MlopsError(
            f"{name} gives other scores than the estimator it was made from, on {apart.mean():.1%} of the test rows: "
            f"up to {np.nanmax(np.abs(after - before)):.2g} apart",
            _NEXT,
        )


def require_parity_everywhere(
    estimator: Any, model: Scoring, kind: Kind, probes: Iterator[Probe], name: str = formats.ONNX.file
) -> None:
    """Refuse a conversion that changes what the model says of some value that the contract allows."""
    for probe in probes:
        before = predicted(estimator, kind, probe.rows, f"rows in which {probe.words}, as contract.py allows")
        after = model(probe.rows)
        apart = ~alike(before, after, kind.rounding, part=PARITY)
        if apart.mean() > APART:
            raise MlopsError(
                f"{name} gives other scores than the estimator it was made from, on {apart.sum()} of {len(apart)} "
                f"rows in which {probe.words}: up to {np.nanmax(np.abs(after - before)):.2g} apart",
                _NEXT,
            )


def predicted(estimator: Any, kind: Kind, rows: Matrix, which: str) -> Scores:
    """What the fitted estimator says of these rows; `which` says in words what rows they are.

    Raises `MlopsError` when it has no answer: a converted model would give one all the same.
    """
    try:
        return kind.predicted(estimator, rows)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise MlopsError(
            f"{type(estimator).__name__} in model.py has no answer for {which}: {said[0]}",
            "let features.py or the model take it (SimpleImputer, handle_unknown), or forbid it in contract.py",
        ) from error


def probes(unseen: pl.DataFrame, names: list[str]) -> Iterator[Probe]:
    """Rows like some of these, with every category, each bound, and a missing value wherever one may be."""
    base = spread(unseen, ROWS)
    for field in CONTRACT.fields:
        for words, value in _values(field, unseen[field.name]):
            changed = base.with_columns(pl.lit(value, dtype=base.schema[field.name]).alias(field.name))
            found, stacked = matrix(columns(changed, CONTRACT.fields))
            if found != names:
                raise MlopsError(
                    f"features.py gives other features for rows in which {field.name} {words}: "
                    f"{', '.join(sorted({*found} ^ {*names})) or 'in another order'}",
                    "let it give the same features for all rows",
                )
            yield Probe(f"{field.name} {words}", stacked)


def _values(field: Field, seen: pl.Series) -> Iterator[tuple[str, Any]]:
    if field.optional:
        yield "is missing", None
    match field.kind:
        case FieldKind.CATEGORY:
            yield from ((f"is {name}", name) for name in field.categories)
        case FieldKind.FLAG:
            yield from (("is true", True), ("is false", False))
        case FieldKind.NUMBER | FieldKind.INTEGER:
            inclusive = dict(field.limits)
            for rule, otherwise in (("ge", seen.min()), ("le", seen.max())):
                value: Any = inclusive.get(rule, otherwise)
                if value is not None:
                    yield f"is {value:,}", value
        case _:
            pass
