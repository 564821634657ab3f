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
from slipway.base.numbers import counted
from slipway.monitoring import psi
from slipway.monitoring.bins import Bin, BinCounts, percent
from slipway.monitoring.days import FEWEST_TO_SEE, Days
from slipway.monitoring.extremes import MORE, Extremes, extremes
from slipway.monitoring.far import FarValues
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
    """How far a column has moved, 0 for not at all, and the chance of as much when nothing has changed.

    `least` is that chance for the largest change there is: where the policy asks for a smaller one, nothing can be told
    from chance, and `days` says in words what that chance is measured on. `longer` is what it would be on so many days.
    """

    value: float
    p_value: float
    scale: Scale
    least: float = 0.0
    days: str = ""
    longer: tuple[tuple[int, float], ...] = ()


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

    `p_value` is corrected for everything that a run judges; the verdict asks for one below `chance`, the policy's. Of
    the bins, those without a row are left out. `far` are numbers far outside of the reference and `extremes` those at
    its ends, where there are more of them than chance explains: too few to move the column, they are worth a look.
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
    extremes: Extremes | None = None
    chance: float = 0.0


@dataclass(frozen=True)
class Side:
    """Columns of a reference and of now by the same names, and the days of their rows if known."""

    reference: pl.DataFrame
    current: pl.DataFrame
    days: Days | None = None

    def pairs(self) -> dict[str, ColumnPair]:
        """The columns, counted."""
        sides = {name: (self.reference[name], self.current[name]) for name in self.current.columns}
        return {name: ColumnPair(*both, BinCounts.of(*both), self.days) for name, both in sides.items()}


def find(
    reference: pl.DataFrame, current: pl.DataFrame, limits: MonitorPolicy, days: Days | None = None
) -> list[ColumnDrift]:
    """Compare each column of `current` with the reference, judge them together, the worst first; see `judge`."""
    return judge([Side(reference, current, days)], limits)


def judge(sides: Sequence[Side], limits: MonitorPolicy) -> list[ColumnDrift]:
    """Judge the columns of all sides together, the worst first.

    Without `days` each row counts as a draw of its own. Where the policy judges labels as well, these have half of the
    chance of a false alarm, and the columns together the other half. Raises `MlopsError` when the policy names a drift
    test that nothing offers.
    """
    pairs = {name: pair for side in sides for name, pair in side.pairs().items()}
    tests = {name: find_test(limits.tests.get(name) or limits.tests.get("default", "psi")) for name in pairs}
    sizes = {name: tests[name](pair, limits) for name, pair in pairs.items()}
    ends = {name: found for name, pair in pairs.items() if (found := extremes(pair.reference, pair.current, pair.days))}
    given = [size.p_value for size in sizes.values()] + [one.p_value for one in ends.values()]
    corrected = [min(1.0, limits.parts * p_value) for p_value in correct(given)]
    ends = {
        name: msgspec.structs.replace(one, p_value=p_value)
        for (name, one), p_value in zip(ends.items(), corrected[len(sizes) :], strict=True)
    }
    needed = limits.p_value / limits.parts / len(given) if given else 1.0
    unknown = {name: _untold(size, needed) for name, size in sizes.items() if size.least >= needed}
    judged = [
        _judged(
            name, pair.counts, sizes[name], p_value, limits, _far(pair, limits, len(pairs)), ends.get(name),
            unknown.get(name, ""),
        )
        for (name, pair), p_value in zip(pairs.items(), corrected, strict=False)
    ]  # fmt: skip
    order = list(Verdict)
    # Sizes of different tests are compared by how many times their limit they are.
    return sorted(judged, key=lambda one: (order.index(one.verdict), -one.size / one.scale.watch, one.name))


def population_stability(pair: ColumnPair, limits: MonitorPolicy) -> Size:
    """Measure a column by its population stability index, whose limits are `watch` and `act` of the policy."""
    measured = psi.measure(pair.counts, pair.days)
    scale = Scale("psi", "population stability index", limits.watch, limits.act)
    if pair.days is None:
        return Size(measured.size, measured.p_value, scale)
    held = f"the reference has {counted(pair.days.many, 'day')}"
    if pair.days.many >= FEWEST_TO_SEE:
        held += f", alike over {measured.run} at a time"
    return Size(measured.size, measured.p_value, scale, measured.least, held, measured.longer)


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


def verdict_of(size: Size, p_value: float, rows: int, limits: MonitorPolicy, unknown: str = "") -> Verdict:
    """Turn a size, its corrected p-value and the rows behind it into what to do about it.

    `unknown` says why no size could be told from chance, where that is so.
    """
    # Too few rows comes first: a large change on forty rows is noise, and noise must page nobody.
    if rows < limits.min_rows:
        return Verdict.INSUFFICIENT_DATA
    if size.value < size.scale.watch:
        return Verdict.OK
    if unknown:
        return Verdict.INSUFFICIENT_DATA
    if p_value >= limits.p_value:
        return Verdict.OK
    return Verdict.ACT if size.value >= size.scale.act else Verdict.WATCH


def moved(columns: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """Return the columns that ask for a look or for more, in the order given."""
    return [column for column in columns if column.verdict in (Verdict.ACT, Verdict.WATCH)]


def _far(pair: ColumnPair, limits: MonitorPolicy, columns: int) -> FarValues | None:
    """Numbers far outside of the reference, unless chance explains as many in one of so many columns."""
    far = FarValues.of(pair.reference, pair.current)
    return far if far and limits.parts * columns * far.p_value < limits.p_value else None


def _untold(size: Size, needed: float) -> str:
    """Why no change can be told from chance, and how many days of the reference could tell one."""
    days = next((days for days, least in size.longer if least < needed), None)
    if days is None:
        return f"{size.days}, so that a season cannot be told from a change"
    return f"{size.days}, and at least {days:,} tell how much days differ"


def _is_more(ends: Extremes, limits: MonitorPolicy) -> bool:
    """Whether more rows than before are at the ends, and no chance."""
    return ends.now - ends.before >= MORE and ends.p_value < limits.p_value


def _judged(
    name: str,
    counts: BinCounts,
    size: Size,
    p_value: float,
    limits: MonitorPolicy,
    far: FarValues | None,
    ends: Extremes | None,
    unknown: str,
) -> ColumnDrift:
    rows, bins = int(counts.now.sum()), counts.shares()
    verdict = verdict_of(size, p_value, fewer := min(rows, int(counts.before.sum())), limits, unknown)
    words = _in_words(verdict, bins, size, "" if fewer < limits.min_rows else unknown)
    # Where the bins have moved, so have the ends.
    if ends and (verdict is not Verdict.OK or size.value >= size.scale.watch or not _is_more(ends, limits)):
        ends = None
    told = [one.sentence for one in (far, ends) if one and fewer >= limits.min_rows]
    if told and verdict in (Verdict.OK, Verdict.INSUFFICIENT_DATA):
        verdict, words = Verdict.WATCH, told[0]
    elif far and told:
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
        extremes=ends,
        chance=limits.p_value,
    )


def _in_words(verdict: Verdict, bins: list[Bin], size: Size, unknown: str) -> str:
    if verdict is Verdict.INSUFFICIENT_DATA:
        return f"differs, perhaps by chance: {unknown}" if unknown else "has too few rows to be judged"
    if verdict is Verdict.OK:
        is_large = size.value >= size.scale.watch
        return "differs by no more than chance explains" if is_large else "looks like the reference"
    # Both values of a flag move by the same share. How often it is true is the one to report: it sorts last.
    most = max(bins, key=lambda group: (round(abs(group.now - group.reference), 9), group.label))
    return f"is {most.label} in {percent(most.now)} of rows, before in {percent(most.reference)}"
