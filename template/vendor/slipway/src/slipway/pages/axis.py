"""Where figures stand on a line, and the round numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

MOST_LEVELS = 6


@dataclass(frozen=True)
class Axis:
    """Maps figures between two onto a line of pixels, from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, figure: float) -> float:
        """The pixel of a figure."""
        return self.start + (figure - self.low) / ((self.high - self.low) or 1) * (self.end - self.start)


def extent(values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest of values, and never the same.

    >>> extent([2.0, 1.0]), extent([0.5]), extent([0.0])
    ((1.0, 2.0), (0.25, 0.75), (-0.5, 0.5))
    """
    low, high = min(values), max(values)
    around = abs(low) / 2 or 0.5
    return (low, high) if high > low else (low - around, high + around)


def levels_of(low: float, high: float, most: int = MOST_LEVELS) -> list[float]:
    """Round values from below one to above another, at least three: their distance is 1, 2 or 5 times a power of ten.

    >>> levels_of(-0.011, 0.034)
    [-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04]
    >>> levels_of(0.12, 0.33, 4)
    [0.1, 0.2, 0.3, 0.4]
    """
    power = 10 ** floor(log10((high - low) / most))
    step = next(step for factor in (1, 2, 5, 10) if (high - low) / (step := factor * power) <= most)
    # What is round but for the last digits of its binary form is round.
    first, last = floor(round(low / step, 6)), ceil(round(high / step, 6))
    return [round(number * step, 12) for number in range(first, last + 1)]
