"""Texts as the contract's types, as the people who write them write them; what cannot be read becomes null."""

from __future__ import annotations

import polars as pl

from slipway.contract.rows import Field, FieldKind
from slipway.settings.params import FileFormat

#: Where floating-point numbers have a gap wider than one, so that an integer written as one may be its neighbour.
EXACT = 2**53
_TIME, _ZONE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:[0-5]\d(\.\d{1,9})?)?)?", r"(?:Z|[+-]\d{2}:?\d{2})"
_DAY, _MINUTE = len("2013-07-01"), len("2013-07-01T17:30")


def typed(text: pl.Expr, field: Field, form: FileFormat) -> pl.Expr:
    """Read a column of texts as the field's type."""
    match field.kind:
        case FieldKind.INTEGER:
            return _integer(_number_text(text, form))
        case FieldKind.NUMBER:
            return _number_text(text, form).cast(pl.Float64, strict=False)
        case FieldKind.FLAG:
            return text.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
        case FieldKind.CATEGORY:
            return text.cast(pl.Enum(field.categories), strict=False)
        case FieldKind.TIME:
            return moments(text, zoned=field.zoned, form=form.time)
        case FieldKind.PICTURE:
            return text.str.decode("base64", strict=False)
        case FieldKind.TEXT:
            return text


def moments(text: pl.Expr, *, zoned: bool, form: str = "", unit: str = "ms") -> pl.Expr:
    """Read times: those of ISO 8601, or of `form` where that is given; in UTC where they have a zone.

    A zone that must not be there, or is not where it must, makes it null: see `times.py`.
    """
    dtype = pl.Datetime(unit, "UTC" if zoned else None)  # type: ignore[arg-type]
    if form:
        if ("%z" in form or "%:z" in form or "%#z" in form) is not zoned:
            return pl.lit(None, dtype)
        return text.str.to_datetime(form, time_unit=unit, strict=False).cast(dtype)  # type: ignore[arg-type]
    is_time = text.str.contains(f"^{_TIME}{_ZONE if zoned else ''}$")
    base = text.str.replace(f"{_ZONE}$", "") if zoned else text
    length, plain = base.str.len_bytes(), base.str.replace("T", " ", literal=True)
    whole = (
        pl.when(length == _DAY).then(plain + " 00:00:00").when(length == _MINUTE).then(plain + ":00").otherwise(plain)
    )
    zone = text.str.extract(f"({_ZONE})$").str.replace("Z", "+0000", literal=True).str.replace(":", "", literal=True)
    stamped, how = (whole + zone, "%Y-%m-%d %H:%M:%S%.f%z") if zoned else (whole, "%Y-%m-%d %H:%M:%S%.f")
    moment = stamped.str.to_datetime(how, time_unit=unit, strict=False)  # type: ignore[arg-type]
    return pl.when(is_time).then(moment.cast(dtype))


def _number_text(text: pl.Expr, form: FileFormat) -> pl.Expr:
    """Numbers with a point as decimal sign; where a comma is, a point is none, and no thousands are marked."""
    if form.decimal == ".":
        return text
    return pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(",", ".", literal=True))


def _integer(text: pl.Expr) -> pl.Expr:
    """Whole numbers to the digit. "12.0" is how some tools write an integer column that once had gaps."""
    number = text.cast(pl.Float64, strict=False)
    is_safe = (number == number.round()) & (number.abs() < EXACT)
    return pl.coalesce(text.cast(pl.Int64, strict=False), pl.when(is_safe).then(number).cast(pl.Int64, strict=False))
