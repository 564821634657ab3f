"""How far columns have moved, and whether chance explains it.

A column becomes a histogram over bins that only the reference decides. The effect size is the
population stability index (PSI) of its two histograms,

    PSI = sum over bins of (b - a) * ln(b / a),    a, b: shares of rows before and now,

which has no unit, is zero for equal shapes and is usually read as 0.1: worth a look, 0.25: act.
With nothing changed it still is not zero: for n and m rows in B bins it follows
(1/n + 1/m) times a chi-square distribution with B - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
Validation 14(4), 2020). So each PSI has a p-value, and those of all columns together are
corrected after S. Holm ("A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6(2), 1979), which holds for dependent columns as well.

That takes every row for a draw of its own. Rows of one day are often alike, as all flights of a
stormy one, and a month is then worth thirty draws and not thousands. Where rows have a time, chance
is measured instead: as many days as now are drawn from those of the reference, and as many rows
from them (a bootstrap of clusters: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their
Application", 1997, 3.8), and a gamma distribution gets the mean and variance of their PSI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import gammaincc

from .project import MonitorPolicy
from .reference import days_of

Counts = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

MISSING = "missing"
DECILES = np.linspace(0, 1, 11)

#: Bins with a smaller share of the reference are measured together: a handful of rows makes
#: a share that jumps, and the chi-square distribution above no longer describes it.
RARE = 0.01

#: Fewer days of the reference do not tell how much days differ.
FEWEST_DAYS = 10

#: Enough for a mean and a variance; the same ones in every run.
DRAWS, SEED = 400, 0


class Verdict(Enum):
    """What an operator does about a finding, from the worst to the best."""

    ACT = "act"
    WATCH = "watch"
    INSUFFICIENT_DATA = "insufficient data"
    OK = "ok"


class Bin(msgspec.Struct, frozen=True):
    """A group of rows: its share of the reference and of the rows now, both from 0 to 1."""

    label: str
    reference: float
    now: float


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one column shows; `limit` is the size it crossed or would cross first.

    `p_value` is corrected for everything that a run judges. Of the bins, those without a row are left out.
    """

    name: str
    psi: float
    limit: float
    p_value: float
    rows: int
    verdict: Verdict
    sentence: str
    bins: list[Bin]


@dataclass(frozen=True)
class Days:
    """The day of each row of the reference, counted from 0, and draws from all of them.

    A draw, one line of `drawn`, says how often it took each day, in all as many as the rows of now are worth.
    """

    places: Counts
    drawn: Counts

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series) -> Days | None:
        """Read the days from the times of the rows; `None` where they are too few to tell anything."""
        before, places = np.unique(days_of(reference), return_inverse=True)
        now = np.unique(days_of(current), return_counts=True)[1]
        if len(before) < FEWEST_DAYS or not now.size:
            return None
        # Days with few rows count less (L. Kish, "Survey Sampling", 1965).
        worth = round(now.sum() ** 2 / np.square(now, dtype=np.float64).sum())
        equal = np.full(len(before), 1 / len(before))
        return cls(places, np.random.default_rng(SEED).multinomial(worth, equal, size=DRAWS))

    def table(self, bins: Counts, width: int) -> Counts:
        """Count the rows of the reference by day and by bin."""
        height = self.drawn.shape[1]
        return np.bincount(self.places * width + bins, minlength=height * width).reshape(height, width)

    def sizes(self, by_day: Counts, rows: int) -> Floats:
        """Return the PSI of each draw, of so many rows, against all days."""
        reference = by_day.sum(axis=0)
        counts = self.drawn @ by_day
        shares = counts / counts.sum(axis=1, keepdims=True)
        drawn = np.random.default_rng(SEED).multinomial(rows, shares)
        # The days of now are other ones than those of the reference, while a draw holds days of the reference.
        sizes: Floats = psi(reference, drawn) * (1 + self.drawn[0].sum() / len(by_day))
        return sizes


@dataclass(frozen=True)
class Histogram:
    """The name of each bin, how many rows of the reference and of now it holds, and of the reference by day."""

    labels: list[str]
    before: Counts
    now: Counts
    by_day: Counts | None = None


def find(
    reference: pl.DataFrame, current: pl.DataFrame, limits: MonitorPolicy, days: Days | None = None
) -> list[Finding]:
    """Compare each column of `current` with the reference, judge them together, the worst first.

    Without `days` each row counts as a draw of its own. Where the policy judges labels as well, these have half of the
    chance of a false alarm, and the columns together the other half.
    """
    names = current.columns
    histograms = [histogram(reference[name], current[name], days) for name in names]
    measured = [measure(one, days) for one in histograms]
    p_values = [min(1.0, limits.parts * p_value) for p_value in correct([p_value for _, p_value in measured])]
    findings = [
        _finding(name, counted, size, p_value, limits)
        for name, counted, (size, _), p_value in zip(names, histograms, measured, p_values, strict=True)
    ]
    order = list(Verdict)
    return sorted(findings, key=lambda finding: (order.index(finding.verdict), -finding.psi, finding.name))


def histogram(reference: pl.Series, current: pl.Series, days: Days | None = None) -> Histogram:
    """Count both columns over the same bins: numbers by size, anything else by name; missing values have a bin."""
    labels, (old, new) = (_by_size if reference.dtype.is_numeric() else _by_name)(reference, current)
    before, now = (np.bincount(bins, minlength=len(labels)) for bins in (old, new))
    return Histogram(labels, before, now, days.table(old, len(labels)) if days else None)


def decile_edges(reference: Floats) -> Floats:
    """Return the edges between bins that each hold about a tenth of the reference, given in ascending order.

    A value that alone fills a tenth or more, such as the zero of a rain gauge, gets a bin of
    its own: between its own edge and that of the next number a computer knows.
    """
    known = reference[: np.searchsorted(reference, np.nan)]
    if not known.size:
        return np.empty(0)
    places = np.ceil(DECILES * len(known)).astype(np.int64) - 1
    values, times = np.unique(known[np.maximum(places, 0)], return_counts=True)
    heavy = values[times > 1]
    return np.unique(np.concatenate([values[1:-1], heavy, np.nextafter(heavy, np.inf)]))


def place(values: Floats, edges: Floats) -> Counts:
    """Return the bin of each value: from each edge to just below the next, and a last one for NaN, the missing ones.

    >>> place(np.array([2.0, 1.0, np.nan, 2.5]), np.array([2.0])).tolist()
    [1, 0, 2, 1]
    """
    # NaN counts as larger than everything, and as equal to itself.
    return np.searchsorted([*edges, np.nan], values, side="right")


def measure(histogram: Histogram, days: Days | None = None) -> tuple[float, float]:
    """Return the PSI of a histogram, and the chance of this much or more when nothing has changed.

    What the reference has hardly or never seen is one bin together.
    """
    rows_before, rows_now = histogram.before.sum(), histogram.now.sum()
    if not (rows_before and rows_now):
        return 0.0, 1.0
    rare = histogram.before < RARE * rows_before
    before, now = _merged(histogram.before, rare), _merged(histogram.now, rare)
    filled = before + now > 0
    size = float(psi(before[filled], now[filled]))
    if filled.sum() == 1:
        return size, 1.0  # a single bin leaves nothing that could move
    freedom = int(filled.sum()) - 1
    mean = freedom * (1 / rows_before + 1 / rows_now)
    variance = 2 * mean**2 / freedom
    if days and histogram.by_day is not None:
        sizes = days.sizes(_merged(histogram.by_day, rare)[:, filled], int(rows_now))
        mean, variance = max(mean, sizes.mean()), max(variance, sizes.var())
    # A gamma distribution of this mean and variance; without days it is the chi-square distribution above.
    return size, float(gammaincc(mean**2 / variance, size * mean / variance))


def psi(reference: Counts, current: Counts) -> Floats:
    """Return the population stability index between two histograms over the same bins, or of several with one.

    Zero means the same shape; what is too much is the policy's business, not this function's.
    Half a row is added to every bin, so that one unseen category moves the index a little
    instead of making it infinite, and so that small bins do not raise false alarms.

    >>> psi(np.array([50, 50]), np.array([[50, 50], [80, 20]])).round(2).tolist()
    [0.0, 0.41]
    """
    before, now = ((counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True) for counts in (reference, current))
    sizes: Floats = np.sum((now - before) * np.log(now / before), axis=-1)
    return sizes


def correct(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given.

    Calling those below `p` a change raises any false alarm at all with a chance of at most `p`.

    >>> correct([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    factors = np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1)
    return [float(p_value) for p_value in adjusted]


def decide(size: float, p_value: float, rows: int, limits: MonitorPolicy) -> Verdict:
    """Turn a PSI of this size, its corrected p-value and the rows behind it into what to do about it."""
    # Too few rows comes first: a large change on forty rows is noise, and noise must page nobody.
    if rows < limits.min_rows:
        return Verdict.INSUFFICIENT_DATA
    if p_value >= limits.p_value or size < limits.watch:
        return Verdict.OK
    return Verdict.ACT if size >= limits.act else Verdict.WATCH


def percent(share: float) -> str:
    """Write a share of rows for people."""
    return f"{100 * share:.1f} %"


def _finding(name: str, counted: Histogram, size: float, p_value: float, limits: MonitorPolicy) -> Finding:
    reference, current = counted.before, counted.now
    rows = int(current.sum())
    verdict = decide(size, p_value, min(rows, int(reference.sum())), limits)
    shares = zip(counted.labels, reference / max(1, reference.sum()), current / max(1, rows), strict=True)
    bins = [Bin(label, float(before), float(now)) for label, before, now in shares if before or now]
    return Finding(
        name=name,
        psi=size,
        limit=limits.act if verdict is Verdict.ACT else limits.watch,
        p_value=p_value,
        rows=rows,
        verdict=verdict,
        sentence=f"{name} {_tell(verdict, bins, is_large=size >= limits.watch)}",
        bins=bins,
    )


def _tell(verdict: Verdict, bins: list[Bin], *, is_large: bool) -> str:
    if verdict is Verdict.INSUFFICIENT_DATA:
        return "has too few rows to be judged"
    if verdict is Verdict.OK:
        return "differs by no more than chance explains" if is_large else "looks like the reference"
    # Both sides of a flag move alike; people want to hear how often it is true, which is last in the alphabet.
    most = max(bins, key=lambda group: (round(abs(group.now - group.reference), 9), group.label))
    return f"is {most.label} in {percent(most.now)} of rows, before in {percent(most.reference)}"


def _by_size(*sides: pl.Series) -> tuple[list[str], list[Counts]]:
    """Name the bins of numbers, and find that of each; the reference is the first side."""
    numbers = [side.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy() for side in sides]
    edges = decile_edges(np.sort(numbers[0]))
    return [*ranges(edges), MISSING], [place(values, edges) for values in numbers]


def _by_name(*sides: pl.Series) -> tuple[list[str], list[Counts]]:
    """Let each name be a bin, the most frequent of the reference first."""
    names = [side.cast(pl.String).fill_null(MISSING) for side in sides]
    before = dict(names[0].alias("label").value_counts().iter_rows())
    labels = sorted({*before, *names[1].unique()}, key=lambda label: (-before.get(label, 0), label))
    return labels, [side.cast(pl.Enum(labels)).to_physical().cast(pl.Int64).to_numpy() for side in names]


def _merged(counts: Counts, rare: NDArray[np.bool_]) -> Counts:
    """Put the rare bins together, as the last one."""
    return np.concatenate([counts[..., ~rare], counts[..., rare].sum(axis=-1, keepdims=True)], axis=-1)


def ranges(edges: Floats) -> list[str]:
    """Name the bins between edges with as many decimals as tell them apart, and one more."""
    if not edges.size:
        return ["any value"]
    apart = len({f"{edge:.12g}" for edge in edges})
    decimals = next((n for n in range(12) if len({f"{edge:.{n}f}" for edge in edges}) >= apart), 12)
    texts = [f"{edge:,.15g}" for edge in edges.round(decimals + 1) + 0.0]  # no minus before a zero
    inner = [low if low == high else f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *inner, f"above {texts[-1]}"]
