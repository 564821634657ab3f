"""The days that rows are of, and how much they differ: rows of one day are alike, and so may be days that follow each
other.

A month of rows is then worth thirty draws and not thousands, or fewer. So chance is measured by how much stretches of
the reference differ that are as long as now: the variance of a mean of days that follow each other is a weighted sum of
the autocovariances of days (M. S. Bartlett, "Smoothing periodograms from time series with continuous spectra", Nature
161, 1948), with what chance adds to that of lag 0, as a day has only so many rows, taken out. See `differences`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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

#: Over so many days a resemblance is always looked for. Fewer days than the other do not show how long they resemble
#: each other, and are taken to do so over so many.
USUAL, FEWEST_TO_SEE = 7, 90

#: Of the degrees of freedom that variances would have if shares followed a normal distribution: they have longer tails.
MEASURED = 0.75


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

    @cached_property
    def rows(self) -> Ints:
        """The rows of each day of the reference."""
        return np.bincount(self.places, minlength=self.many)

    def table(self, bins: Ints, width: int) -> Ints:
        """Count the rows of the reference by day and by bin."""
        return np.bincount(self.places * width + bins, minlength=self.many * width).reshape(self.many, width)

    def tell(self, run: int) -> bool:
        """Whether days that resemble those of a `run` are enough to tell what is chance."""
        return self.many >= FEWEST_DAYS and self.many / run >= FEWEST_STRETCHES


class Differences(NamedTuple):
    """By how much days of now differ from all of the reference by chance.

    `ways` are the variances in each direction in which shares of bins can move, in the metric that the population
    stability index is near to; what rows of their own add is not in them. They are measured with so many degrees of
    `freedom`, fewer the more of a way is near to the `noise` of days with few rows. Days resemble their neighbours over
    a `run`, which is 1 where none does.
    """

    run: int
    ways: Floats
    freedom: float
    noise: float


def differences(by_day: Ints, worth: int) -> Differences:
    """Measure how much stretches of as many days as now is `worth` differ, from counts by day and bin.

    The autocovariances of the shares of all bins are added up over as many lags as days resemble each other, and at
    least over a week: a resemblance too weak to be seen makes false alarms. That length is the one that D. N. Politis
    and H. White choose for the mean of a series ("Automatic block-length selection for the dependent bootstrap",
    Econometric Reviews 23(1), 2004; corrected by A. Patton, D. N. Politis and H. White, 28(4), 2009).
    """
    days, rows = len(by_day), by_day.sum(axis=1, keepdims=True)
    shares = by_day.sum(axis=0) / rows.sum()
    is_in = shares > 0
    root = np.sqrt(shares[is_in])
    apart = (by_day - rows * shares)[:, is_in] / root / rows.mean()
    noise = (np.eye(len(root)) - np.outer(root, root)) / rows.mean()
    spectrum = np.fft.rfft(apart, 2 * days, axis=0)
    run = _run(apart, np.fft.irfft(np.square(np.abs(spectrum)).sum(axis=1))[:days] / days, float(np.trace(noise)))
    weights = 1 - np.arange(max(1, min(worth, max(run, USUAL), days // 2))) / worth
    kernel = np.concatenate([weights, np.zeros(2 * days + 1 - 2 * len(weights)), weights[:0:-1]])
    # Each frequency but the outermost stands for two.
    power = np.fft.rfft(kernel).real * np.repeat([1, 2, 1], [1, days - 1, 1])
    summed = (spectrum.conj().T @ (spectrum * power[:, None])).real / (2 * days**2)
    ways = _variances((summed - noise) / worth)
    if days < FEWEST_TO_SEE:
        alike = _variances((apart.T @ apart / days - noise) * min(1.0, USUAL / worth))
        ways = max(ways, alike, key=np.sum)
    # The mean of all moves with the stretches that it is of, so they differ less from it than others do.
    part = min(max(run, worth) / days, 0.5)
    freedom = MEASURED * min(days / (1 + 2 * np.square(weights[1:]).sum()), 1.5 * days / run) - 1
    return Differences(run, ways * (1 + part) / (1 - part), max(1.0, float(freedom)), 1 / float(rows.mean()) / worth)


def _variances(covariances: Floats) -> Floats:
    """Those in directions that do not depend on each other."""
    found: Floats = np.linalg.eigvalsh(covariances).clip(min=0)
    return found


def _run(apart: Floats, covariances: Floats, noise: float) -> int:
    """Over how many days they resemble each other, from their shares and the autocovariances of all shares together."""
    days = len(apart)
    least = USUAL if days < FEWEST_TO_SEE else 1
    covariances[0] -= noise  # it would hide how much days resemble each other
    if covariances[0] <= 0:
        return least
    # Lags of many bins are less by chance than those of one.
    shared = apart.T @ apart / days
    dimensions = np.trace(shared) ** 2 / np.square(shared).sum()
    limit = 2 * sqrt(log10(days) / days / dimensions) * np.trace(shared)
    lags, most = _lags(days)
    return min(most, max(least, round(_best(covariances[: lags + 1], limit, days))))


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
