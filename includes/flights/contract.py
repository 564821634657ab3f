"""What a flight looks like, and what must be true of it. Yours to change."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta
from slipway import Contract, Row

Airport = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Carrier = Literal["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]


class Flight(Row):
    """A scheduled departure from New York with the weather at that hour, known two hours ahead."""

    departs: Annotated[datetime, Meta(tz=False, description="Scheduled local time of departure.")]
    carrier: Annotated[Carrier, Meta(description="Airline, as its two-letter code.")]
    flight: Annotated[int, Meta(ge=1, le=9999, description="Flight number.")]
    origin: Annotated[Literal["EWR", "JFK", "LGA"], Meta(description="Airport of departure.")]
    dest: Annotated[Airport, Meta(description="Airport of arrival.")]
    distance: Annotated[int, Meta(ge=10, le=6000, description="Miles between the airports.")]
    temp: Annotated[float, Meta(ge=-40, le=130, description="Temperature in degrees Fahrenheit.")] | None
    humid: Annotated[float, Meta(ge=0, le=100, description="Relative humidity in percent.")] | None
    wind_speed: Annotated[float, Meta(ge=0, le=120, description="Wind speed in miles per hour.")] | None
    precip: Annotated[float, Meta(ge=0, le=10, description="Rain or snow in inches an hour.")] | None
    pressure: Annotated[float, Meta(ge=900, le=1100, description="Pressure at sea level in millibars.")] | None
    visib: Annotated[float, Meta(ge=0, le=10, description="Visibility in miles.")] | None


class Arrival(Row):
    """What is known once the flight has landed."""

    arr_delay: Annotated[int, Meta(ge=-200, le=2000, description="Minutes late; negative is early.")]


CONTRACT = Contract(
    row=Flight,
    outcome=Arrival,
    time="departs",
    key=("departs", "carrier", "flight", "origin"),
    max_age_days=7,
)
