"""What labelled rows show against what was expected: mean, slope, bands of scores and classes, with errors by days.

The statistics of `concept.py`, where their sources are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from slipway.monitoring.calibration import Calibration, Floats, Ints, Rows
from slipway.training.reference import FEWEST_DAYS

#: A band of scores with fewer labelled rows is not shown.
FEWEST_ROWS = 20
#: Neighbouring days are compared within runs of this many, so that a change between runs is no likeness of days.
RUN = 14
#: The spread of a run's correlation where days are independent, and beyond how many of it (of the median) it is none.
RUN_SPREAD, CERTAIN = 0.35, 1.64


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums over days, its standard error, and how many draws the days are worth.

    `figures` is how far each day is from it.
    """

    value: float
    error: float
    worth: float
    figures: Floats

    @classmethod
    def of(cls, top: Floats, bottom: Floats, days: Ints) -> Ratio | None:
        """`None` where the days are too few to tell how much they differ."""
        _, places = np.unique(days, return_inverse=True)
        above, below = np.bincount(places, top), np.bincount(places, bottom)
        many, whole = len(above), float(below.sum())
        if many < FEWEST_DAYS or whole == 0:
            return None
        value = float(above.sum()) / whole
        off = above - value * below
        error = sqrt(many / (many - 1) * float(np.square(off).sum())) / whole
        return cls(value, error, many, off / (whole / many))

    def of_alike_days(self, alike: float) -> Ratio:
        """The same where neighbouring days are correlated, so that days are worth fewer draws."""
        part = (1 - alike) / (1 + alike)
        return Ratio(self.value, self.error / sqrt(part), self.worth * part, self.figures)


@dataclass(frozen=True)
class Contrast:
    """By how much now differs from the test rows, and the chance of as much when nothing has changed."""

    value: float
    error: float
    p_value: float
    freedom: float

    @classmethod
    def of(cls, now: Ratio | None, tested: Ratio | None) -> Contrast | None:
        """`None` where either is not known. How alike neighbouring days are, the test rows tell."""
        if now is None or tested is None:
            return None
        alike = correlation(tested.figures)
        now, tested = now.of_alike_days(alike), tested.of_alike_days(alike)
        value, error = now.value - tested.value, hypot(now.error, tested.error)
        freedom = min(now.worth, tested.worth) - 1
        if error == 0 or freedom <= 0:
            return cls(value, error, float(value == 0 or freedom <= 0), freedom)
        return cls(value, error, float(2 * stdtr(freedom, -abs(value) / error)), freedom)

    def margin(self, chance: float) -> float | None:
        """How far chance alone takes them apart but for that chance; `None` where days do not tell."""
        return self.error * -float(stdtrit(self.freedom, chance / 2)) if self.freedom > 0 else None


@dataclass(frozen=True)
class BandContrast:
    """A band of scores, or a class: its number, its rows, and what was expected and happened on average of them."""

    number: int
    rows: int
    expected: float
    happened: float
    contrast: Contrast | None


@dataclass(frozen=True)
class Contrasts:
    """Mean, slope and bands of labelled rows; `size` is how far the change of slope moves an answer on average.

    Of `classes`, if there are some, each has the share of all rows that were it.
    """

    expected: float
    happened: float
    mean: Contrast | None
    slope: Contrast | None
    size: float
    bands: list[BandContrast]
    classes: list[BandContrast]

    @property
    def tests(self) -> list[float]:
        """The chances of the slope, of the bands together, and of the classes together where there are some."""
        chances = [self.slope.p_value if self.slope else 1.0, together(self.bands)]
        return [*chances, together(self.classes)] if self.classes else chances

    @classmethod
    def of(cls, rows: Rows, calibration: Calibration, by_class: Sequence[Rows] = ()) -> Contrasts:
        """Compare labelled rows with the test rows; `by_class` has them once more for each class."""
        tested = calibration.tested
        expected = calibration.expected(rows.scores)
        slope = Contrast.of(_slope(rows, calibration), _slope(tested, calibration))
        tilt = calibration.weight(expected) * _centred(rows, calibration)
        return cls(
            expected=float(expected.mean()),
            happened=float(rows.truth.mean()),
            mean=Contrast.of(_mean(rows, calibration), _mean(tested, calibration)),
            slope=slope,
            size=float(np.abs(slope.value * tilt).mean()) if slope else 0.0,
            bands=_bands(rows, calibration),
            classes=[*map(_compared, range(len(by_class)), by_class, calibration.by_class)],
        )


def together(bands: Sequence[BandContrast]) -> float:
    """The chance that one of several is as far off (Bonferroni)."""
    judged = [band.contrast.p_value for band in bands if band.contrast]
    return min(1.0, min(judged, default=1.0) * len(judged))


def _compared(place: int, now: Rows, calibration: Calibration) -> BandContrast:
    """A class by the mean of all rows: as often as its probability let expect?"""
    expected = float(calibration.expected(now.scores).mean())
    contrast = Contrast.of(_mean(now, calibration), _mean(calibration.tested, calibration))
    return BandContrast(place, len(now), expected, float(now.truth.mean()), contrast)


def _mean(rows: Rows, calibration: Calibration) -> Ratio | None:
    return Ratio.of(rows.truth - calibration.expected(rows.scores), np.ones(len(rows)), rows.days)


def _slope(rows: Rows, calibration: Calibration) -> Ratio | None:
    """The slope less 1: one step of Newton's method from where it is as expected, for any mean."""
    expected, scale = calibration.expected(rows.scores), _centred(rows, calibration)
    return Ratio.of((rows.truth - expected) * scale, calibration.weight(expected) * scale**2, rows.days)


def _centred(rows: Rows, calibration: Calibration) -> Floats:
    scale, weight = calibration.scale(rows.scores), calibration.weight(calibration.expected(rows.scores))
    return np.asarray(scale - np.average(scale, weights=weight))


def _bands(rows: Rows, calibration: Calibration) -> list[BandContrast]:
    places, expected = calibration.bands(rows.scores), calibration.expected(rows.scores)
    tested = calibration.tested
    found = []
    for number in range(len(calibration.edges) + 1):
        here = places == number
        if (many := int(here.sum())) < FEWEST_ROWS:
            continue
        now = _mean(_only(rows, here), calibration)
        before = _mean(_only(tested, calibration.bands(tested.scores) == number), calibration)
        means = float(expected[here].mean()), float(rows.truth[here].mean())
        found.append(BandContrast(number, many, *means, Contrast.of(now, before)))
    return found


def _only(rows: Rows, chosen: Ints) -> Rows:
    return Rows(rows.scores[chosen], rows.truth[chosen], rows.days[chosen])


def correlation(figures: Floats) -> float:
    """How neighbours in a series are correlated, from 0 on; 0 where that may be chance, or the series is too short.

    It is the median over runs of neighbours, each with the bias of so short a run taken off to the first order
    (M. H. Quenouille, "Approximate tests of correlation in time-series", Journal of the Royal Statistical Society B 11,
    1949): a change of level between runs is no likeness, and one within a run is in that one alone.

    >>> correlation(np.arange(28) % 2.0)
    0.0
    """
    runs = figures[len(figures) % RUN :].reshape(-1, RUN)
    apart = runs - runs.mean(axis=1, keepdims=True)
    spread = np.square(apart).sum(axis=1)
    together = (apart[:, 1:] * apart[:, :-1]).sum(axis=1)[spread > 0] / spread[spread > 0]
    if not together.size:
        return 0.0
    found = (float(np.median(together)) + 1 / RUN) / (1 - 3 / RUN)
    return min(found, 0.95) if found > CERTAIN * RUN_SPREAD / sqrt(together.size) else 0.0
