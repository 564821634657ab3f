"""What a scan looks like, and what must be true of it. Yours to change."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from slipway import Contract, Picture, Row


class Scan(Row):
    """A digit that somebody wrote by hand, as a small picture."""

    sheet: Annotated[int, Meta(ge=0, description="Number of the scan in the collection.")]
    picture: Annotated[bytes, Picture(width=8, height=8)]


class Written(Row):
    """What is known of whoever wrote it."""

    written: Annotated[Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], Meta(description="The digit meant.")]


CONTRACT = Contract(row=Scan, outcome=Written, key=("sheet",))
