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
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import chdtrc

from .project import MonitorPolicy

Counts = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
#: The name of each bin, and how many rows of the reference and of now are in it.
Histogram = tuple[list[str], Counts, Counts]

MISSING = "missing"
DECILES = np.linspace(0, 1, 11)

#: Bins with a smaller share of the reference are measured together: a handful of rows makes
#: a share that jumps, and the chi-square distribution above no longer describes it.
RARE = 0.01


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

    `p_value` is corrected for the number of columns. Of the bins, those without a row are left out.
    """

    name: str
    psi: float
    limit: float
    p_value: float
    rows: int
    verdict: Verdict
    sentence: str
    bins: list[Bin]


def find(reference: pl.DataFrame, current: pl.DataFrame, limits: MonitorPolicy) -> list[Finding]:
    """Compare each column of `current` with the reference, judge them together, the worst first."""
    names = current.columns
    histograms = [histogram(reference[name], current[name]) for name in names]
    measured = [measure(before, now) for _, before, now in histograms]
    p_values = correct([p_value for _, p_value in measured])
    findings = [
        _finding(name, counted, size, p_value, limits)
        for name, counted, (size, _), p_value in zip(names, histograms, measured, p_values, strict=True)
    ]
    order = list(Verdict)
    return sorted(findings, key=lambda finding: (order.index(finding.verdict), -finding.psi, finding.name))


def histogram(reference: pl.Series, current: pl.Series) -> Histogram:
    """Count both columns over the same bins: numbers by size, anything else by name; missing values have a bin."""
    if not reference.dtype.is_numeric():
        before, now = _tally(reference), _tally(current)
        labels = sorted(before | now, key=lambda label: (-before.get(label, 0), label))
        return labels, _counts([before.get(name, 0) for name in labels]), _counts([now.get(name, 0) for name in labels])
    old, new = _numbers(reference), _numbers(current)
    edges = decile_edges(old)
    return [*_ranges(edges), MISSING], count(old, edges), count(new, edges)


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


def count(values: Floats, edges: Floats) -> Counts:
    """Count the values from each edge to just below the next; the last bin holds the missing ones.

    Values are in ascending order, as `np.sort` leaves them: the missing ones, which are NaN, come last.

    >>> count(np.array([1.0, 2.0, 2.5, np.nan]), np.array([2.0])).tolist()
    [1, 2, 1]
    """
    below = np.searchsorted(values, [*edges, np.nan])
    return np.diff(below, prepend=0, append=len(values))


def measure(reference: Counts, current: Counts) -> tuple[float, float]:
    """Return the PSI of two histograms, and the chance of this much or more when nothing has changed.

    What the reference has hardly or never seen is one bin together.
    """
    if not (reference.sum() and current.sum()):
        return 0.0, 1.0
    rare = reference < RARE * reference.sum()
    before = np.append(reference[~rare], reference[rare].sum())
    now = np.append(current[~rare], current[rare].sum())
    filled = before + now > 0
    size = psi(before[filled], now[filled])
    scale = 1 / reference.sum() + 1 / current.sum()
    # A single bin leaves nothing that could move.
    return size, float(chdtrc(filled.sum() - 1, size / scale)) if filled.sum() > 1 else 1.0


def psi(reference: Counts, current: Counts) -> float:
    """Return the population stability index between two histograms over the same bins.

    Zero means the same shape; what is too much is the policy's business, not this function's.
    Half a row is added to every bin, so that one unseen category moves the index a little
    instead of making it infinite, and so that small bins do not raise false alarms.

    >>> round(psi(np.array([50, 50]), np.array([80, 20])), 2)
    0.41
    """
    before, now = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, current))
    return float(np.sum((now - before) * np.log(now / before)))


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
    labels, reference, current = counted
    rows = int(current.sum())
    verdict = decide(size, p_value, min(rows, int(reference.sum())), limits)
    shares = zip(labels, reference / max(1, reference.sum()), current / max(1, rows), strict=True)
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


def _tally(values: pl.Series) -> dict[str, int]:
    return dict(values.cast(pl.String).fill_null(MISSING).alias("label").value_counts().iter_rows())


def _counts(counts: list[int]) -> Counts:
    return np.array(counts, dtype=np.int64)


def _numbers(values: pl.Series) -> Floats:
    """Sort once: quantiles and counts are look-ups from then on."""
    return np.sort(values.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy())


def _ranges(edges: Floats) -> list[str]:
    """Name the bins between edges with as many decimals as tell them apart, and one more."""
    if not edges.size:
        return ["any value"]
    apart = len({f"{edge:.12g}" for edge in edges})
    decimals = next((n for n in range(12) if len({f"{edge:.{n}f}" for edge in edges}) >= apart), 12)
    texts = [f"{edge:,.15g}" for edge in edges.round(decimals + 1) + 0.0]  # no minus before a zero
    inner = [low if low == high else f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *inner, f"above {texts[-1]}"]
