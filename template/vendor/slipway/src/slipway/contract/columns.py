"""Rows as columns: what features are made from, the same for a request and for a table of training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from slipway.contract.rows import Field, FieldKind, Row

#: One value per row. Numbers are floats with NaN for "missing", categories are their position in
#: the contract's list with -1 for "missing", times are `datetime64[s]`, texts are strings. Of pictures it is an array
#: of rows, height and width, and channels where they have colours, from 0 to 255.
Column = NDArray[Any]
Columns = Mapping[str, Column]


class RowColumns:
    """Turns decoded rows into columns; `frames.columns` does the same for a data frame.

    A server mostly gets single rows, and for them each call into numpy costs more than the work it
    does. So what to do with which field is settled once, and fields that are stored alike become
    columns in one step.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        def placed(*kinds: FieldKind) -> dict[str, int]:
            return {field.name: place for place, field in enumerate(fields) if field.kind in kinds}

        self._numbers = placed(FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.FLAG)
        self._number_places = list(self._numbers.values())
        self._categories = placed(FieldKind.CATEGORY)
        self._codes = [(place, fields[place].codes.__getitem__) for place in self._categories.values()]
        self._times = placed(FieldKind.TIME)
        self._zoned = {field.name for field in fields if field.zoned}
        self._texts = placed(FieldKind.TEXT)
        self._pictures = [(place, field.name, field.picture) for place, field in enumerate(fields) if field.picture]

    def __call__(self, rows: Sequence[Row]) -> dict[str, Column]:
        """Return one array per field, with one value per row; at least one row is needed."""
        values = [*zip(*map(msgspec.structs.astuple, rows), strict=True)]
        numbers = np.array([values[place] for place in self._number_places], dtype=np.float64)  # None becomes NaN
        made: dict[str, Column] = dict(zip(self._numbers, numbers, strict=True))
        if self._codes:
            codes = np.array([[*map(code, values[place])] for place, code in self._codes], dtype=np.int64)
            made.update(zip(self._categories, codes, strict=True))
        for name, place in self._times.items():
            moments = map(_in_utc, values[place]) if name in self._zoned else values[place]
            made[name] = np.array([*moments], dtype="datetime64[s]")
        for name, place in self._texts.items():
            made[name] = np.array(["" if value is None else value for value in values[place]], dtype=np.str_)
        for place, name, picture in self._pictures:
            made[name] = np.stack([picture.read(value).pixels for value in values[place]])
        return made


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone(UTC).replace(tzinfo=None)


def columns(rows: Sequence[Row], fields: tuple[Field, ...]) -> dict[str, Column]:
    """Turn decoded rows into columns, once."""
    return RowColumns(fields)(rows)
