"""What moved between the reference and now: one finding per column, with a sentence and what a chart needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import polars as pl

from . import drift, words
from .drift import Counts, Floats, Numbers, Verdict
from .project import MonitorPolicy
from .words import MISSING

MOST_BARS = 10
REST = "all others"

#: A median that moves by less than this share of the middle half's width is not what changed.
MOVED = 0.1
#: The middle half's width, now over before, from which on rows have spread out.
WIDER = 1.2


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A group of rows: its share of the reference and of the rows now, both from 0 to 1."""

    label: str
    reference: float
    now: float


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one column shows. `now` is the value of the measure, `limit` the one it crossed or would cross first.

    `p_value` is corrected for the number of columns. The bars are for the eye, the measure has
    its own bins. `scale` holds the numbers between the bars; categories have none.
    """

    name: str
    role: Literal["input", "prediction"]
    meaning: str
    measure: str
    now: float
    limit: float
    p_value: float
    rows: int
    verdict: Verdict
    sentence: str
    bars: list[Bar]
    scale: list[float]


@dataclass(frozen=True)
class Pair:
    """A column twice: in the reference and now. Numbers are compared by size, the rest by name."""

    name: str
    role: Literal["input", "prediction"]
    meaning: str
    reference: pl.Series
    current: pl.Series


@dataclass(frozen=True)
class Change:
    """A pair of columns, measured; `told` says in a sentence what changed most."""

    size: float
    chance: float
    told: str
    bars: list[Bar]
    scale: list[float]


def find(pairs: Sequence[Pair], limits: MonitorPolicy) -> list[Finding]:
    """Compare each pair and judge them together, the worst first."""
    changes = [measure(pair) for pair in pairs]
    chances = drift.correct([change.chance for change in changes])
    found = [_finding(*each, limits) for each in zip(pairs, changes, chances, strict=True)]
    return sorted(found, key=lambda finding: (finding.verdict, -finding.now, finding.name))


def measure(pair: Pair) -> Change:
    """Measure how far a column has moved."""
    if pair.reference.dtype.is_numeric():
        return _measure_numbers(pair)
    return _measure_categories(pair)


def _finding(pair: Pair, change: Change, chance: float, limits: MonitorPolicy) -> Finding:
    rows = min(len(pair.current), len(pair.reference))
    verdict = drift.decide(size=change.size, chance=chance, rows=rows, limits=limits)
    return Finding(
        name=pair.name,
        role=pair.role,
        meaning=pair.meaning,
        measure="psi",
        now=change.size,
        limit=limits.act if verdict is Verdict.ACT else limits.watch,
        p_value=chance,
        rows=len(pair.current),
        verdict=verdict,
        sentence=_sentence(pair, change, verdict, limits),
        bars=change.bars,
        scale=change.scale,
    )


def _sentence(pair: Pair, change: Change, verdict: Verdict, limits: MonitorPolicy) -> str:
    rows = len(pair.current)
    if verdict is Verdict.INSUFFICIENT_DATA and rows < limits.min_rows:
        return f"{pair.name} has {rows:,} rows, at least {limits.min_rows:,} are needed"
    if verdict is Verdict.INSUFFICIENT_DATA:
        return f"{pair.name} has {len(pair.reference):,} rows in the reference, at least {limits.min_rows:,} are needed"
    if verdict is not Verdict.OK:
        return change.told
    if change.size >= limits.watch:
        return f"{pair.name} differs by no more than chance explains on {rows:,} rows"
    return f"{pair.name} looks like the reference"


def _measure_categories(pair: Pair) -> Change:
    before, now = _tally(pair.reference), _tally(pair.current)
    labels = sorted(before | now, key=lambda label: (label == MISSING, -before.get(label, 0), label))
    reference = np.array([before.get(label, 0) for label in labels], dtype=np.int64)
    current = np.array([now.get(label, 0) for label in labels], dtype=np.int64)
    size, chance = _size_and_chance(reference, current)
    bars = _bars(labels, reference, current)
    told = _tell_categories(pair.name, bars)
    return Change(size=size, chance=chance, told=told, bars=_shorten(bars), scale=[])


def _measure_numbers(pair: Pair) -> Change:
    reference, current = _numbers(pair.reference), _numbers(pair.current)
    edges = drift.decile_edges(reference)
    size, chance = _size_and_chance(drift.count(reference, edges), drift.count(current, edges))
    before, now = reference.quantiles(drift.QUANTILES), current.quantiles(drift.QUANTILES)
    scale = drift.round_scale(before, now)
    labels = [*words.ranges(scale.tolist(), whole=pair.reference.dtype.is_integer()), MISSING]
    bars = _bars(labels, drift.count(reference, scale[1:-1]), drift.count(current, scale[1:-1]))
    told = _tell_numbers(pair.name, bars, before, now)
    kept = bars if bars[-1].reference or bars[-1].now else bars[:-1]
    return Change(size=size, chance=chance, told=told, bars=kept, scale=scale.tolist())


def _size_and_chance(reference: Counts, current: Counts) -> tuple[float, float]:
    if not (reference.sum() and current.sum()):
        return 0.0, 1.0
    before, now = drift.pool_rare(reference, current)
    size = drift.psi(before, now)
    return size, drift.p_value(size, before, now)


def _tally(values: pl.Series) -> dict[str, int]:
    counted = values.cast(pl.String).fill_null(MISSING).alias("label").value_counts()
    return dict(counted.iter_rows())


def _numbers(values: pl.Series) -> Numbers:
    return Numbers.of(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _bars(labels: Sequence[str], reference: Counts, current: Counts) -> list[Bar]:
    before = reference / max(1, reference.sum())
    now = current / max(1, current.sum())
    return [
        Bar(label=label, reference=a, now=b) for label, a, b in zip(labels, before.tolist(), now.tolist(), strict=True)
    ]


def _shorten(bars: list[Bar]) -> list[Bar]:
    """Keep the largest groups, in their order, and put the others into one."""
    if len(bars) <= MOST_BARS:
        return bars
    largest = sorted(bars, key=lambda bar: -max(bar.reference, bar.now))[: MOST_BARS - 1]
    rest = [bar for bar in bars if bar not in largest]
    others = Bar(label=REST, reference=sum(bar.reference for bar in rest), now=sum(bar.now for bar in rest))
    return [*(bar for bar in bars if bar in largest), others]


def _biggest_step(bars: list[Bar]) -> Bar:
    return max(bars, key=lambda bar: round(abs(bar.now - bar.reference), 9))


def _tell_categories(name: str, bars: list[Bar]) -> str:
    if not bars:
        return ""
    # Of a flag people want to hear how often it is true.
    bar = _biggest_step([bar for bar in bars if bar.label != "false"] or bars)
    if bar.label == MISSING:
        return words.missing_change(name, bar.reference, bar.now)
    return f"{name} = {bar.label} {words.went(bar.reference, bar.now)}"


def _tell_numbers(name: str, bars: list[Bar], before: Floats, now: Floats) -> str:
    bar = _biggest_step(bars)
    if bar.label == MISSING:
        return words.missing_change(name, bar.reference, bar.now)
    _, low, middle, high, _ = before.tolist()
    _, low_now, middle_now, high_now, _ = now.tolist()
    if abs(middle_now - middle) > MOVED * (high - low):
        return words.middle_change(name, middle, middle_now)
    width, width_now = high - low, high_now - low_now
    if width_now > WIDER * width or width > WIDER * width_now:
        return words.spread_change(name, (low, high), (low_now, high_now))
    return f"{name} {bar.label} {words.went(bar.reference, bar.now)}"
