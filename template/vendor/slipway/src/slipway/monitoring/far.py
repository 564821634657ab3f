"""Numbers that cannot be: far outside of all that the reference holds, as in another unit or as a code for no value."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl


class FarValues(msgspec.Struct, frozen=True):
    """Numbers far outside of all that the reference holds: how many rows of now, the farthest, and what is held.

    `p_value` is the chance of so many beyond the reference when nothing has changed.
    """

    rows: int
    farthest: float
    lowest: float
    highest: float
    p_value: float

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series) -> FarValues | None:
        """Look for them; none are there in what is no number.

        Far is what lies beyond the reference by more than its whole range: no season does that, another unit does.
        """
        if not (reference.dtype.is_numeric() and current.dtype.is_numeric()):
            return None
        sides = [side.cast(pl.Float64) for side in (reference, current)]
        ends = [one for side in sides for one in (side.min(), side.max()) if isinstance(one, float)]
        if len(ends) < 4 or np.isnan(ends).any():
            return None
        lowest, highest, least, most = ends
        if max(lowest - least, most - highest) <= highest - lowest:
            return None  # as nearly always, and known without a look at each
        held, now = (side.drop_nulls().drop_nans().to_numpy() for side in sides)
        beyond = np.maximum(lowest - now, now - highest)
        far = now[beyond > highest - lowest]
        if not far.size:
            return None
        # Of all rows in order, the outermost are all of now: any other order is as likely. Either end may be it.
        order = np.arange(far.size)
        p_value = min(1.0, 2 * float(np.prod((now.size - order) / (now.size + held.size - order))))
        return cls(far.size, float(now[beyond.argmax()]), lowest, highest, p_value)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        held = f"{self.lowest:,.6g} to {self.highest:,.6g}"
        return f"is far from {held}, which is all the reference has, in {self.rows:,} rows: {self.farthest:,.6g}"
