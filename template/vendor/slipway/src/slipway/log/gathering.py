"""Predictions gathered into a frame: all of them, or an even part that their ids decide where there are too many."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slipway.contract.rows import Field
from slipway.log.frames import frame_of

if TYPE_CHECKING:
    import polars as pl

    from slipway.log.masks import Mask

#: Columns need far less memory than objects.
CHUNK_ROWS = 50_000
_LEAST_PART = 2**31


class Gathering:
    """Takes predictions, one at a time, and keeps at most so many of them, and a chunk.

    Which ones depends on their ids alone: neither on their order nor on the place that they are read from. A shadow's
    answer is kept with that of the champion, which has the same id.
    """

    def __init__(self, fields: Sequence[Field], mask: Mask | None, most: int | None = None, one_in: int = 1) -> None:
        """`fields` are those of the contract that become columns; without `most`, one in so many is kept."""
        self.one_in = one_in
        self._fields, self._mask, self._most = fields, mask, most
        self._frames = [frame_of([], fields, mask)]
        self._chosen: list[Any] = []

    def add(self, prediction: Any) -> None:
        """Keep a prediction, unless it is of the part that is left out."""
        if zlib.crc32(prediction.id.encode()) % self.one_in:
            return
        self._chosen.append(prediction)
        if len(self._chosen) == CHUNK_ROWS:
            self._pack()

    def frame(self) -> pl.DataFrame:
        """What was kept, in the order in which it came."""
        import polars as pl

        self._pack()
        return pl.concat(self._frames)

    def _pack(self) -> None:
        """Make a frame of what waits, and halve the part until it is small enough."""
        self._frames.append(frame_of(self._chosen, self._fields, self._mask))
        self._chosen = []
        # Rows that all have one id are no more to be parted.
        while self._most and self.one_in < _LEAST_PART and sum(one.height for one in self._frames) > self._most:
            self.one_in *= 2
            self._frames = [frame.filter(self._is_in(frame)) for frame in self._frames]

    def _is_in(self, frame: pl.DataFrame) -> pl.Series:
        import polars as pl

        return pl.Series([zlib.crc32(id_.encode()) % self.one_in == 0 for id_ in frame["id"]], dtype=pl.Boolean)
