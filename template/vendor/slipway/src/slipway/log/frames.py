"""Logged predictions as a data frame. A server uses none of it: polars is imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slipway import team
from slipway.contract.rows import Field, FieldKind

if TYPE_CHECKING:
    import polars as pl

    from slipway.log.masks import Mask

#: No column of a contract has such a name.
SHARE = "(share)"


def frame_of(predictions: Sequence[Any], fields: Sequence[Field], mask: Mask | None) -> pl.DataFrame:
    """Predictions as columns: their own, then `fields` of the rows, of which a `mask` hashes some."""
    import polars as pl

    own: list[tuple[str, Any]] = [
        ("id", pl.String),
        ("at", pl.Datetime("us", "UTC")),
        ("version", pl.Int64),
        ("digest", pl.String),
        ("role", pl.String),
        (SHARE, pl.Float64),
        ("score", pl.Float64),
        ("answer", pl.Float64),
    ]
    if classes := team.classes():
        own.append((team.PROBABILITIES, pl.List(pl.Float64)))
    values = ([getattr(p, name.strip("()")) for p in predictions] for name, _ in own)
    columns = [pl.Series(name, given, dtype, strict=False) for (name, dtype), given in zip(own, values, strict=True)]
    if classes:
        places = {name: place for place, name in enumerate(classes)}
        answers = [places.get(p.answer) if isinstance(p.answer, str) else p.answer for p in predictions]
        columns[-2] = pl.Series("answer", answers, pl.Float64, strict=False)
    columns += [_series(field, [p.row.get(field.name) for p in predictions], mask) for field in fields]
    return pl.DataFrame(columns)


def _series(field: Field, values: list[Any], mask: Mask | None) -> pl.Series:
    import polars as pl

    if mask and field.name in mask.hashed:
        return pl.Series(field.name, [mask.hash(field.name, value) for value in values], pl.String)
    if field.kind is FieldKind.TIME:
        from slipway.contract.texts import moments

        texts = pl.Series(field.name, values, pl.String, strict=False)
        return pl.select(moments(pl.lit(texts), zoned=field.zoned, unit="us")).to_series().alias(field.name)
    dtypes = {FieldKind.NUMBER: pl.Float64, FieldKind.INTEGER: pl.Int64, FieldKind.FLAG: pl.Boolean}
    return pl.Series(field.name, values, dtypes.get(field.kind, pl.String), strict=False)
