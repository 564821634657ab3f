"""A day in Seattle."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta
from slipway import Contract, Row


class Morning(Row):
    """What is known of a day when it begins."""

    date: Annotated[datetime, Meta(tz=False)]
    temp_min: Annotated[float, Meta(ge=-30, le=50, description="Degrees Celsius.")]
    wind: Annotated[float, Meta(ge=0, le=60, description="Metres a second.")]
    precipitation: Annotated[float, Meta(ge=0, le=500, description="Millimetres.")]
    weather: Literal["drizzle", "fog", "rain", "snow", "sun"]


class Noon(Row):
    """What the day brings."""

    temp_max: Annotated[float, Meta(ge=-30, le=60)]


CONTRACT = Contract(row=Morning, outcome=Noon, time="date", key=("date",), max_age_days=2)
