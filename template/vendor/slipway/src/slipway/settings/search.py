"""The block `search` of `params.yaml`: where `mlops search` may look for better parameters. No stage depends on it."""

from __future__ import annotations

from math import isclose
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from slipway.settings.base import Count, Positive, Settings

#: What a choice may be.
Plain = str | int | float | bool | None


class ParameterRange(Settings):
    """From `low` to `high`, both included: whole numbers where both are written as such.

    `log` tries small and large values alike often. `step` is the distance of the values that are tried.
    """

    # A text is taken and refused with its reason: YAML reads 1e-4 as one.
    low: int | float | str
    high: int | float | str
    step: int | float | str | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the parameter is a whole number."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step) if number is not None)

    def __post_init__(self) -> None:
        for key, number in (("low", self.low), ("high", self.high), ("step", self.step)):
            if isinstance(number, str):
                raise ValueError(f"{key} is the text {number!r}; a number is written like 0.0001 or 1.0e-4")
        low, high, step = float(self.low), float(self.high), None if self.step is None else float(self.step)
        if not low < high:
            raise ValueError(f"the range is empty, as low {self.low} is not below high {self.high}")
        if self.log and low <= 0:
            raise ValueError(f"log needs numbers above 0, and low is {self.low}")
        if self.log and step is not None:
            raise ValueError("log and step exclude each other")
        if step is not None and (step <= 0 or not isclose((high - low) / step, round((high - low) / step))):
            raise ValueError(f"steps of {self.step} do not lead from low {self.low} to high {self.high}")


#: What one parameter may be: a range, or a list of choices.
Values = ParameterRange | list[Plain]


class SearchParams(Settings):
    """Where to look, by which metric, and for how long.

    `ranges` has the names of some parameters in `model`. `metric` is one that has a gate in `policy.yaml`, which says
    what better means. The search ends after `trials` or `minutes`, whichever comes first; each trial is measured on
    `folds` parts of the training rows.
    """

    metric: str
    ranges: dict[str, Any]
    trials: Count = 50
    minutes: Positive | None = None
    folds: Annotated[int, Meta(ge=2, le=20)] = 3

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("ranges names no parameter")
        for name, written in self.ranges.items():
            self.ranges[name] = _values(name, written)


def _values(name: str, written: Any) -> Values:
    """Read one range; its error names the parameter, which a decoder of the whole block does not."""
    try:
        found: Values = msgspec.convert(written, Values)
    except msgspec.ValidationError as error:
        raise ValueError(f"ranges.{name}: {str(error).partition(' - at ')[0]}") from None
    if isinstance(found, list):
        if len(found) < 2:
            raise ValueError(f"ranges.{name}: a list of choices has at least two")
        if doubled := [choice for place, choice in enumerate(found) if choice in found[:place]]:
            raise ValueError(f"ranges.{name}: the choice {doubled[0]!r} stands there twice")
    return found
