"""The days that rows are of, and draws of them: rows of one day are alike, and so may be days that follow each other.

A month of rows is then worth thirty draws and not thousands, or fewer. So chance is measured by drawing runs of days
from those of the reference (moving blocks: H. R. Künsch, "The jackknife and the bootstrap for general stationary
observations", Annals of Statistics 17(3), 1989; laid in a circle: D. N. Politis and J. P. Romano, "A circular
block-resampling procedure for stationary data", in "Exploring the Limits of Bootstrap", 1992). How long runs have to be
the days themselves tell: see `resemblance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10, sqrt
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slipway.training.reference import days_of

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

#: Fewer days of the reference tell nothing of chance, and fewer stretches of days that do not resemble each other.
FEWEST_DAYS, FEWEST_STRETCHES = 10, 2

#: Fewer days do not show how long they resemble each other. They are taken to do so over so many.
FEWEST_TO_SEE, USUAL = 90, 7

#: Enough for a mean and a variance; the same ones in every run.
DRAWS, SEED = 400, 0


@dataclass(frozen=True)
class Days:
    """The day of each row of the reference, counted from 0, of how `many`, and how many the rows of now are `worth`."""

    places: Ints
    many: int
    worth: int

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series) -> Days | None:
        """Read the days from the times of the rows; `None` where a side has no rows."""
        before, places = np.unique(days_of(reference), return_inverse=True)
        now = np.unique(days_of(current), return_counts=True)[1]
        if not (before.size and now.size):
            return None
        # Days with few rows count less (L. Kish, "Survey Sampling", 1965).
        worth = round(now.sum() ** 2 / np.square(now, dtype=np.float64).sum())
        return cls(places, len(before), max(1, worth))

    def table(self, bins: Ints, width: int) -> Ints:
        """Count the rows of the reference by day and by bin."""
        return np.bincount(self.places * width + bins, minlength=self.many * width).reshape(self.many, width)

    def draws(self, by_day: Ints, length: int) -> Ints:
        """Draw as many days as those of now are worth, in runs of `length`; count their rows by bin, a line a draw."""
        length = min(length, self.worth)
        runs = ceil(self.worth / length)
        first = np.random.default_rng(SEED).integers(0, self.many, (DRAWS, runs, 1))
        drawn = ((first + np.arange(length)) % self.many).reshape(DRAWS, -1)[:, : self.worth]
        counts: Ints = by_day[drawn].sum(axis=1)
        return counts

    def tell(self, run: int) -> bool:
        """Whether days that resemble those of a `run` are enough to tell what is chance."""
        return self.many >= FEWEST_DAYS and self.many / run >= FEWEST_STRETCHES

    def wider(self, run: int) -> float:
        """By how much the variance between days of now and all of the reference exceeds that between draws and all.

        The days of now are other ones than those of the reference, while those drawn are its own; and stretches differ
        less from the mean of all when that mean is theirs.
        """
        return (1 + max(run, self.worth) / self.many) / (1 - min(run / self.many, 0.5))


class Resemblance(NamedTuple):
    """In runs of how many days the days of a column have to be drawn, 1 where none resembles its neighbours.

    `between` is by how much the population stability index of as many days as now, that follow each other, exceeds
    that of rows of no day on average.
    """

    run: int
    between: float


def resemblance(by_day: Ints, worth: int) -> Resemblance:
    """Measure how much days differ and resemble their neighbours, from counts by day and bin.

    The run is the length that D. N. Politis and H. White ("Automatic block-length selection for the dependent
    bootstrap", Econometric Reviews 23(1), 2004; corrected by A. Patton, D. N. Politis and H. White, 28(4), 2009) choose
    for the mean of a series. Here the series are the shares of all bins: their autocovariances are added up in the
    metric that the population stability index is near to, (b - a)^2 / a, and what chance adds to that of lag 0, as a
    day has only so many rows, is taken out: it would hide how much days resemble each other.
    """
    days, rows = len(by_day), by_day.sum(axis=1, keepdims=True)
    shares = by_day.sum(axis=0) / rows.sum()
    is_in = shares > 0
    apart = (by_day - rows * shares)[:, is_in] / np.sqrt(shares[is_in]) / rows.mean()
    lags, most = _lags(days)
    spectrum = np.abs(np.fft.rfft(apart, 2 * days, axis=0)) ** 2
    covariances = np.fft.irfft(spectrum.sum(axis=1))[:days] / days
    noise = (is_in.sum() - 1) / rows.mean()  # of so few rows a day
    covariances[0] -= noise
    weights = 1 - np.arange(1, max(1, min(worth, days // 2))) / worth
    between = float(covariances[0] + 2 * (weights * covariances[1 : len(weights) + 1]).sum()) / worth
    # What noise leaves uncertain of it counts as days that differ.
    between += noise * sqrt((2 + 4 * np.square(weights).sum()) / (is_in.sum() * days)) / worth
    least = USUAL if days < FEWEST_TO_SEE else 1
    if days < FEWEST_TO_SEE:
        between = max(between, float(covariances[0]) * min(1.0, USUAL / worth))
    if covariances[0] <= 0:
        return Resemblance(least, max(0.0, between))
    # Lags of many bins are less by chance than those of one.
    shared = apart.T @ apart / days
    dimensions = np.trace(shared) ** 2 / np.square(shared).sum()
    limit = 2 * sqrt(log10(days) / days / dimensions) * np.trace(shared)
    run = min(most, max(least, round(_best(covariances[: lags + 1], limit, days))))
    return Resemblance(run, max(0.0, between))


def _lags(days: int) -> tuple[int, int]:
    """How many lags are looked at, and the longest run that is chosen."""
    return min(days - 1, ceil(sqrt(days)) + _quiet(days)), max(1, ceil(min(3 * sqrt(days), days / 3)))


def _quiet(days: int) -> int:
    """So many lags in a row must be chance, for all that come to be taken for it."""
    return max(5, ceil(sqrt(log10(days))))


def _best(covariances: Floats, limit: float, days: int) -> float:
    """The length that has the least mean squared error for the variance of a mean."""
    is_large = np.abs(covariances[1:]) >= limit
    quiet = _quiet(days)
    last = next((lag for lag in range(len(is_large)) if not is_large[lag : lag + quiet].any()), len(is_large))
    width = min(2 * max(last, 0), len(covariances) - 1)
    if not width:
        return 1
    lags = np.arange(1, width + 1)
    weighted = 2 * np.clip(2 * (1 - lags / width), 0, 1) * covariances[1 : width + 1]
    slope, density = (lags * weighted).sum(), covariances[0] + weighted.sum()
    if density <= 0:
        return 1  # days that differ from their neighbours more than from others need no runs
    return float((1.5 * (slope / density) ** 2 * days) ** (1 / 3))
