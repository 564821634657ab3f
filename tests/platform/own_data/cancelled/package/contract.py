"""A flight, and whether it left at all."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta
from slipway import Contract, Row

Airport = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Carrier = Literal["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]


class Flight(Row):
    """A scheduled departure from New York."""

    leaves: Annotated[datetime, Meta(tz=False)]
    carrier: Carrier
    flight: Annotated[int, Meta(ge=1, le=9999)]
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Airport
    distance: Annotated[int, Meta(ge=10, le=6000)]
    tailnum: str | None = None


class Departure(Row):
    """What became of it."""

    cancelled: bool


CONTRACT = Contract(row=Flight, outcome=Departure, time="leaves", key=("leaves", "carrier", "flight", "origin"))
