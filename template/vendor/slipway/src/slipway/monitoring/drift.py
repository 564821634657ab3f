"""How far columns have moved, and whether chance explains it.

Each column is measured by a drift test: the one that `monitor.tests` in policy.yaml names for it, its `default`
otherwise, and the population stability index where nothing is named. A test says how far the column has moved and
how often chance alone would move it as far. The p-values of all columns together are corrected after S. Holm ("A
simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979), which holds
for dependent columns and for different tests as well.

Another distribution offers a test of its own by the entry point group `slipway.drift`: a function from a
`ColumnPair` and the limits of the policy to a `Size`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec
import numpy as np
import polars as pl

from slipway.base import plugins
from slipway.base.errors import MlopsError
from slipway.monitoring import psi
from slipway.monitoring.bins import Bin, BinCounts, Days, FarValues, percent
from slipway.settings.policy import MonitorPolicy

GROUP = "slipway.drift"


class Verdict(Enum):
    """What an operator does about a finding, from the worst to the best."""

    ACT = "act"
    WATCH = "watch"
    INSUFFICIENT_DATA = "insufficient data"
    OK = "ok"


class Scale(msgspec.Struct, frozen=True):
    """What the sizes of a drift test mean: its short name, its name in words, and the sizes that ask for something.

    From `watch` on a size is worth a look, from `act` on worth doing something.
    """

    name: str
    words: str
    watch: float
    act: float


class Size(msgspec.Struct, frozen=True):
    """How far a column has moved, 0 for not at all, and the chance of as much when nothing has changed."""

    value: float
    p_value: float
    scale: Scale


@dataclass(frozen=True)
class ColumnPair:
    """One column of the reference and of now, both counted over the same bins, and the days of the rows if known."""

    reference: pl.Series
    current: pl.Series
    counts: BinCounts
    days: Days | None


#: Measures a column, with the policy's limits at hand.
DriftTest = Callable[[ColumnPair, MonitorPolicy], Size]


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What one column shows; `limit` is the size it crossed or would cross first, on the scale of its test.

    `p_value` is corrected for everything that a run judges. Of the bins, those without a row are left out. `far` are
    numbers far outside of the reference, where there are more of them than chance explains: too few to move the column,
    they are worth a look.
    """

    name: str
    scale: Scale
    size: float
    limit: float
    p_value: float
    rows: int
    verdict: Verdict
    sentence: str
    bins: list[Bin]
    far: FarValues | None = None


def find(
    reference: pl.DataFrame, current: pl.DataFrame, limits: MonitorPolicy, days: Days | None = None
) -> list[ColumnDrift]:
    """Compare each column of `current` with the reference, judge them together, the worst first.

    Without `days` each row counts as a draw of its own. Where the policy judges labels as well, these have half of the
    chance of a false alarm, and the columns together the other half. Raises `MlopsError` when the policy names a drift
    test that nothing offers.
    """
    tests = {name: find_test(limits.tests.get(name) or limits.tests.get("default", "psi")) for name in current.columns}
    pairs = [
        ColumnPair(reference[name], current[name], BinCounts.of(reference[name], current[name], days), days)
        for name in tests
    ]
    sizes = [test(pair, limits) for pair, test in zip(pairs, tests.values(), strict=True)]
    p_values = [min(1.0, limits.parts * p_value) for p_value in correct([size.p_value for size in sizes])]
    found = [
        _judged(name, pair.counts, size, p_value, limits, _far(pair, limits, len(pairs)))
        for name, pair, size, p_value in zip(tests, pairs, sizes, p_values, strict=True)
    ]
    order = list(Verdict)
    # Sizes of different tests are compared by how many times their limit they are.
    return sorted(found, key=lambda one: (order.index(one.verdict), -one.size / one.scale.watch, one.name))


def population_stability(pair: ColumnPair, limits: MonitorPolicy) -> Size:
    """Measure a column by its population stability index, whose limits are `watch` and `act` of the policy."""
    value, p_value = psi.measure(pair.counts, pair.days)
    return Size(value, p_value, Scale("psi", "population stability index", limits.watch, limits.act))


#: The tests of this platform; others come by entry point.
TESTS: dict[str, DriftTest] = {"psi": population_stability}


def find_test(name: str) -> DriftTest:
    """Find a drift test by the name that the policy gives it. Raises `MlopsError` when nothing offers it."""
    if name in TESTS:
        return TESTS[name]
    try:
        found: DriftTest = plugins.load(GROUP, name)
    except KeyError:
        raise MlopsError(
            f"policy.yaml, monitor.tests: there is no drift test {name}",
            f"choose from {', '.join([*TESTS, *plugins.names(GROUP)])}, or install what offers it",
        ) from None
    return found


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


def verdict_of(size: Size, p_value: float, rows: int, limits: MonitorPolicy) -> Verdict:
    """Turn a size, its corrected p-value and the rows behind it into what to do about it."""
    # Too few rows comes first: a large change on forty rows is noise, and noise must page nobody.
    if rows < limits.min_rows:
        return Verdict.INSUFFICIENT_DATA
    if p_value >= limits.p_value or size.value < size.scale.watch:
        return Verdict.OK
    return Verdict.ACT if size.value >= size.scale.act else Verdict.WATCH


def moved(columns: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """Return the columns that ask for a look or for more, in the order given."""
    return [column for column in columns if column.verdict in (Verdict.ACT, Verdict.WATCH)]


def _far(pair: ColumnPair, limits: MonitorPolicy, columns: int) -> FarValues | None:
    """Numbers far outside of the reference, unless chance explains as many in one of so many columns."""
    far = FarValues.of(pair.reference, pair.current)
    return far if far and limits.parts * columns * far.p_value < limits.p_value else None


def _judged(
    name: str, counts: BinCounts, size: Size, p_value: float, limits: MonitorPolicy, far: FarValues | None
) -> ColumnDrift:
    rows, bins = int(counts.now.sum()), counts.shares()
    verdict = verdict_of(size, p_value, min(rows, int(counts.before.sum())), limits)
    words = _in_words(verdict, bins, is_large=size.value >= size.scale.watch)
    if far and verdict is Verdict.OK:
        verdict, words = Verdict.WATCH, far.sentence
    elif far and verdict is not Verdict.INSUFFICIENT_DATA:
        words += f", and {far.sentence}"
    return ColumnDrift(
        name=name,
        scale=size.scale,
        size=size.value,
        limit=size.scale.act if verdict is Verdict.ACT else size.scale.watch,
        p_value=p_value,
        rows=rows,
        verdict=verdict,
        sentence=f"{name} {words}",
        bins=bins,
        far=far,
    )


def _in_words(verdict: Verdict, bins: list[Bin], *, is_large: bool) -> str:
    if verdict is Verdict.INSUFFICIENT_DATA:
        return "has too few rows to be judged"
    if verdict is Verdict.OK:
        return "differs by no more than chance explains" if is_large else "looks like the reference"
    # Both values of a flag move by the same share. How often it is true is the one to report: it sorts last.
    most = max(bins, key=lambda group: (round(abs(group.now - group.reference), 9), group.label))
    return f"is {most.label} in {percent(most.now)} of rows, before in {percent(most.reference)}"
