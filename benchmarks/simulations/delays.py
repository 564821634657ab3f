"""After how many days each kind of change is told, and by which check.

A stream has 56 good days and 91 after a change. At the end of each week after it the monitor's checks look at it: the
metric of the labels, what labels say of the scores, the metric that the scores let expect, and the columns.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import expit
from slipway.monitoring import estimate
from slipway.monitoring.concept import ConceptState
from slipway.monitoring.days import Days
from slipway.monitoring.drift import Verdict, find
from slipway.monitoring.estimate import EstimateState, MetricRule
from truth import Bar, Cell

from simulations.quality import (
    DROP,
    LIMITS,
    SEED,
    START,
    Champion,
    Floats,
    World,
    judged,
    log_of,
    quality_told,
    squared,
    times,
)

GOOD, AFTER = 56, 91
#: The champion has learned from so many days with so many rows, whatever is asked of it later.
LEARNED_DAYS, LEARNED_ROWS = 90, 100
COLUMNS = ["one", "two", "kind"]
CHECKS = ("quality", "labels", "scores", "columns")
NEVER = 999


@dataclass(frozen=True)
class Rows:
    """Two features as they are, each row's kind, and for how many days the change has been there."""

    one: Floats
    two: Floats
    kind: np.ndarray[tuple[int], np.dtype[np.str_]]
    age: Floats


@dataclass(frozen=True)
class Asked:
    """The second feature and the kind as the model gets them, and the log odds of a yes, but for its base rate."""

    two: Floats
    kind: np.ndarray[tuple[int], np.dtype[np.str_]]
    happens: Floats


def log_odds(one: Floats, two: Floats) -> Floats:
    """What the model has learned."""
    return 0.8 * one + 0.6 * two


def nothing(rows: Rows) -> Asked:
    """As it was."""
    return Asked(rows.two, rows.kind, log_odds(rows.one, rows.two))


def reversed_(rows: Rows) -> Asked:
    """What was likely is unlikely; as many yes as before."""
    return Asked(rows.two, rows.kind, -log_odds(rows.one, rows.two))


def decayed(rows: Rows) -> Asked:
    """Within 90 days the features come to mean nothing."""
    return Asked(rows.two, rows.kind, log_odds(rows.one, rows.two) * np.clip(1 - rows.age / 90, 0, 1))


def broken(rows: Rows) -> Asked:
    """The second feature reaches the model as 2 in every row."""
    return Asked(np.full_like(rows.two, 2.0), rows.kind, log_odds(rows.one, rows.two))


def unit(rows: Rows) -> Asked:
    """In one row of twenty the second feature comes in another unit: a hundred times as large."""
    hit = np.arange(len(rows.two)) % 20 == 0
    return Asked(np.where(hit, 100 * rows.two, rows.two), rows.kind, log_odds(rows.one, rows.two))


def segment(rows: Rows) -> Asked:
    """Three rows of ten are of a kind that the model does not know: the first feature tells the contrary in it."""
    is_new = np.arange(len(rows.two)) % 10 < 3
    usual = log_odds(rows.one, rows.two)
    return Asked(rows.two, np.where(is_new, "c", rows.kind), np.where(is_new, log_odds(-rows.one, rows.two), usual))


@dataclass(frozen=True)
class Change:
    """What changes, and within how many days it is to be told in 95 of 100 streams; where nothing does, in 5."""

    words: str
    of: Callable[[Rows], Asked]
    within: int
    is_none: bool = False


CHANGES = [
    Change("nothing changes", nothing, AFTER, is_none=True),
    Change("the relation is reversed", reversed_, 14),
    Change("the relation fades within 90 days", decayed, AFTER),
    Change("one column is constant", broken, 7),
    Change("one column has another unit in 5 % of rows", unit, 7),
    Change("three rows of ten are of a new kind", segment, 7),
]


def stream(rng: np.random.Generator, change: Change, days: int, a_day: int, good: int) -> pl.DataFrame:
    """Rows of days in their order: the columns as the model gets them, its score, and what happened."""
    number = np.repeat(np.arange(days), a_day).astype(np.float64)
    one, two = rng.normal(size=(2, len(number)))
    rows = Rows(one, two, np.where(rng.random(len(number)) < 0.6, "a", "b"), number - good)
    before, after, is_after = nothing(rows), change.of(rows), number >= good
    two, kind, happens = (
        np.where(is_after, getattr(after, name), getattr(before, name)) for name in ("two", "kind", "happens")
    )
    # As `quality.World` has it: each day moves all of its rows.
    effect = World().day * rng.normal(size=days)
    truth = rng.random(len(number)) < expit(happens - 1.1 + effect[number.astype(int)])
    return pl.DataFrame({
        "one": one, "two": two, "kind": kind, "score": expit(log_odds(one, two) - 1.1),
        "truth": truth.astype(np.float64), "day": number,
    })  # fmt: skip


class Watch:
    """What each check of the monitor has told of one stream so far."""

    def __init__(self, champion: Champion, learned: pl.DataFrame, rows: pl.DataFrame) -> None:
        """The columns are held against those that the champion has `learned` from."""
        self.champion, self.learned = champion, learned.with_columns(at=times(learned["day"].to_numpy()))
        scores, truth, days = (rows[name].to_numpy() for name in ("score", "truth", "day"))
        self.log = log_of(champion, scores, truth, days).hstack(rows.select(COLUMNS))
        tested = champion.calibration.tested
        self.limit = squared(tested.truth, tested.scores) + DROP
        self.daily = np.bincount(days.astype(int), np.square(truth - scores)) / np.bincount(days.astype(int))

    def told(self, check: str, end: int) -> bool:
        """Whether a check tells something at the end of a day of the stream."""
        seen = self.log.filter(pl.col("at").is_between(START + timedelta(days=end - 28), START + timedelta(days=end)))
        latest = seen.filter(pl.col("at") >= START + timedelta(days=end - 7))
        if check == "quality":
            return quality_told(self.daily, GOOD, self.limit, range(end, end + 1)) is not None
        if check == "labels":
            return judged(self.champion, seen, end).state is ConceptState.MOVED
        if check == "scores":
            rule = MetricRule("error", squared, sign=-1, limit=self.limit, accepted=DROP)
            found = estimate.compare(self.champion.calibration, latest, seen, rule, LIMITS)
            return found.state is not EstimateState.OK
        days = Days.of(*(side["at"].dt.replace_time_zone(None) for side in (self.learned, latest)))
        drift = find(self.learned.select(COLUMNS), latest.select(COLUMNS), LIMITS, days)
        return any(one.verdict in (Verdict.ACT, Verdict.WATCH) for one in drift)

    def delays(self) -> dict[str, int]:
        """After how many days each check tells something, `NEVER` for not in the days there are."""
        ends = range(GOOD + 7, GOOD + AFTER + 1, 7)
        return {
            check: next((end - GOOD for end in ends if self.told(check, end)), NEVER)
            for check in CHECKS
        }  # fmt: skip


def cells(trials: int, *, peers: int) -> Iterator[Cell]:
    """A row for each change and how many rows there are a day."""
    with tempfile.TemporaryDirectory() as folder:
        for number, change in enumerate(CHANGES):
            for a_day in (100, 10_000):
                # Of each stream there are thirteen looks.
                many = trials if a_day < 1_000 else max(1, trials // 10)
                place = Path(folder) / f"{number}-{a_day}"
                place.mkdir()
                yield _cell(change, a_day, many, place, min(many, peers if a_day < 1_000 else -(-peers // 10)))


def _cell(change: Change, a_day: int, many: int, folder: Path, peers: int) -> Cell:
    rng = np.random.default_rng([SEED, 6, CHANGES.index(change), a_day])
    told: dict[str, list[int]] = {check: [] for check in CHECKS}
    for trial in range(many):
        champion = Champion.of(folder / "model", World(), rng)
        learned = stream(rng, CHANGES[0], LEARNED_DAYS, LEARNED_ROWS, LEARNED_DAYS)
        rows = stream(rng, change, GOOD + AFTER, a_day, GOOD)
        for check, delay in Watch(champion, learned, rows).delays().items():
            told[check].append(delay)
        if trial < peers:
            week = (pl.col("day").cast(pl.Int64) - GOOD).floordiv(7).alias("week")
            answer = (pl.col("score") >= 0.5).cast(pl.Int64).alias("answer")
            rows.select(*COLUMNS, "score", pl.col("truth").cast(pl.Int64), week, answer).write_parquet(
                folder / f"{trial}.parquet"
            )
    within = change.within
    first = np.min([*told.values()], axis=0)
    others = {name: _asked(name, folder) for name in PEERS} if peers else {}
    halves = told | {f"{name}'s {check}": found for name, one in others.items() for check, found in one.items()}
    remark = ", ".join(f"{check} {_half(delays)}" for check, delays in halves.items())
    return Cell(
        f"{change.words}, {a_day:,} rows a day", f"told within {within} days", int(np.sum(first <= within)), many,
        Bar(most=0.05) if change.is_none else Bar(least=0.95),
        peers={name: (int(np.sum(np.min([*one.values()], axis=0) <= within)), peers) for name, one in others.items()},
        remark=f"days to half of them: {remark}",
    )  # fmt: skip


def _half(delays: list[int]) -> str:
    """The median delay in words."""
    return f"{np.median(delays):.0f}" if np.median(delays) <= AFTER else "never"


#: What a peer's environment is made of.
PEERS = {
    "Evidently": ("evidently", "pandas<3", "pyarrow"),
    "NannyML": ("nannyml", "statsmodels", "pandas<3", "pyarrow"),
}


def _asked(name: str, folder: Path) -> dict[str, list[int]]:
    """After how many days each check of a peer tells each stream, in an environment that is thrown away."""
    packages = [word for one in PEERS[name] for word in ("--with", one)]
    script = Path(__file__).with_name("peers.py")
    command = ["uv", "run", "--quiet", "--no-project", "--python", "3.11", *packages, "python", script, name, folder]
    # They report to nobody.
    silent = os.environ | {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=silent)
    weeks: dict[str, list[int | None]] = json.loads(done.stdout.splitlines()[-1])
    return {check: [NEVER if week is None else 7 * (week + 1) for week in found] for check, found in weeks.items()}
