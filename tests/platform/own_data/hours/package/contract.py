"""An hour of weather at an airport."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta
from slipway import Contract, Row


class Hour(Row):
    """What instruments show without a hygrometer."""

    measured: Annotated[datetime, Meta(tz=False, description="Local time.")]
    origin: Literal["EWR", "JFK", "LGA"]
    temp: Annotated[float, Meta(ge=-40, le=130)]
    wind_dir: Annotated[int, Meta(ge=0, le=360)] | None
    wind_speed: Annotated[float, Meta(ge=0, le=150)] | None
    pressure: Annotated[float, Meta(ge=900, le=1100)] | None
    visib: Annotated[float, Meta(ge=0, le=10)]
    precip: Annotated[float, Meta(gt=-0.5, lt=10.5)]


class Humidity(Row):
    """What the hygrometer shows."""

    humid: Annotated[float, Meta(ge=0, le=100)]


CONTRACT = Contract(row=Hour, outcome=Humidity, time="measured", key=("origin", "measured"))
