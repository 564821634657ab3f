"""Who was aboard."""

from typing import Annotated, Literal

from msgspec import Meta
from slipway import Contract, Row


class Passenger(Row):
    """A passenger, as the company knew them."""

    passenger: Annotated[int, Meta(ge=1, description="Number in the list.")]
    pclass: Literal["1", "2", "3"]
    name: Annotated[str, Meta(min_length=3)]
    sex: Literal["female", "male"]
    age: Annotated[float, Meta(ge=0, le=100)] | None
    sibsp: Annotated[int, Meta(ge=0, le=20, description="Brothers, sisters, husband or wife aboard.")]
    parch: Annotated[int, Meta(ge=0, le=20, description="Parents and children aboard.")]
    fare: Annotated[float, Meta(ge=0)] | None
    cabin: str | None
    embarked: Literal["C", "Q", "S"] | None
    home: str | None


class Fate(Row):
    """What became of them."""

    survived: Literal["no", "yes"]


CONTRACT = Contract(row=Passenger, outcome=Fate, key=("passenger",))
