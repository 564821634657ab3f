"""Worlds for what labels and scores say: the champion's metric, what it expects, and what its scores let expect.

A row has two features; the log odds of a yes, or the quantity, are a sum of them, and each day moves all of its rows by
an effect of its own. The scores are those of a model that knows the relation as it was. Quality is looked at daily
by day means, on which its jackknife over days is the same as on rows; labels are judged at the end of each window.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from slipway import kinds
from slipway.base.files import write_json
from slipway.experiment.statistics import Sample
from slipway.monitoring import concept, estimate, quality
from slipway.monitoring.calibration import Calibration, Rows
from slipway.monitoring.concept import Concept, ConceptState
from slipway.monitoring.estimate import EstimateState, MetricRule
from slipway.monitoring.quality import QualityState
from slipway.settings.policy import (
    Gates,
    LabelPolicy,
    LimitGate,
    MetricGate,
    MonitorPolicy,
    Policy,
    QualityPolicy,
    ServingPolicy,
    WindowPolicy,
)  # fmt: skip
from slipway.team import CONTRACT
from slipway.training.bundle import SUMS, Bundle, Expected, ModelFacts
from truth import Bar, Cell

Floats = NDArray[np.float64]

SEED = 129
DROP, BIAS, BIAS_OF_NUMBER = 0.03, 0.05, 0.25
QUARTER = 91
TESTED_DAYS, TESTED_ROWS = 60, 100
START = datetime(2030, 1, 1, tzinfo=UTC)
RULE = QualityPolicy(metric="error", drop=DROP, min_rows=500, action="propose")
LIMITS = MonitorPolicy(
    min_rows=200, watch=0.1, act=0.25, p_value=0.01, max_bias=BIAS, quality=RULE,
    windows=WindowPolicy(days=7, last=4, need=2),
)  # fmt: skip
#: What a day does to the log odds of its rows, by its standard deviation.
DAY = 0.3


@dataclass(frozen=True)
class World:
    """Rows of days in their order: two features to what the model says and to what happens."""

    kind: str = "class"
    #: The model's log odds are so many times too large.
    overconfident: float = 1.0
    day: float = DAY
    alike: float = 0.0
    #: How many of the days are as they were; those after it are counted from 0.
    good: int = 0
    change: Callable[[Floats, Floats, Floats], tuple[Floats, Floats]] | None = None

    def rows(self, rng: np.random.Generator, days: int, a_day: int) -> tuple[Floats, Floats, Floats]:
        """Scores, what happened, and the day of each row."""
        number = np.repeat(np.arange(days), a_day).astype(np.float64)
        one, two = rng.normal(size=(2, days * a_day))
        said = happens = 0.8 * one + 0.6 * two
        if self.change is not None:
            new = self.change(one, two, number - self.good)
            said, happens = (
                np.where(number >= self.good, now, before) for now, before in zip(new, (said, happens), strict=True)
            )
        effect = self.day * ar(rng, days, self.alike)[number.astype(int)]
        if self.kind == "number":
            return 5 + said, 5 + happens + 0.3 * effect + rng.normal(size=len(number)), number
        truth = rng.random(len(number)) < expit(happens - 1.1 + effect)
        return expit(self.overconfident * (said - 1.1)), truth.astype(np.float64), number


def ar(rng: np.random.Generator, days: int, alike: float) -> Floats:
    """Effects of days, each correlated with the one before, with a standard deviation of 1."""
    steps = rng.normal(size=days)
    found = np.empty(days)
    found[0] = steps[0]
    for day in range(1, days):
        found[day] = alike * found[day - 1] + np.sqrt(1 - alike**2) * steps[day]
    return found


def reversed_(one: Floats, two: Floats, age: Floats) -> tuple[Floats, Floats]:
    """What was likely is unlikely; as many yes as before."""
    del age
    said = 0.8 * one + 0.6 * two
    return said, -said


def narrowed(one: Floats, two: Floats, age: Floats) -> tuple[Floats, Floats]:
    """Both features have half the spread, and mean what they meant: nothing has changed but the rows."""
    del age
    said = 0.4 * one + 0.3 * two
    return said, said


# ---------------------------------------------------------------------------- quality


def quality_told(errors: Floats, first: int, limit: float, looks: range) -> int | None:
    """After how many days from the `first` on a metric of these day means is told to be broken; `None` for never."""
    policy = msgspec.structs.replace(LIMITS, quality=msgspec.structs.replace(RULE, min_rows=5))
    for days in looks:
        known = errors[:days]
        sample = Sample(np.zeros(days), known, np.arange(days), lambda truth, scores: float(np.mean(scores - truth)))
        if quality.assess(sample, policy, limit=limit, sign=-1).state is QualityState.BROKEN:
            return days - first
    return None


def day_errors(rng: np.random.Generator, days: int, *, level: Floats | float, alike: float, a_day: int) -> Floats:
    """Day means of a Brier score: 0.16 of rows with a spread of 0.2, and 0.01 that a day has of its own."""
    noise = rng.normal(0, 0.2 / np.sqrt(a_day), days)
    return np.asarray(0.16 + level + noise + 0.01 * ar(rng, days, alike))


def quality_cells(trials: int) -> Iterator[Cell]:
    """How soon a fall is told, whatever the champion's age, and how often one that is none."""
    limit = 0.16 + DROP
    for a_day in (100, 10_000):
        for age in (0, 30, 180, 365):
            rng, delays = np.random.default_rng([SEED, age, a_day]), []
            for _ in range(trials):
                level = np.where(np.arange(age + 100) < age, 0, 2 * DROP)
                errors = day_errors(rng, age + 100, level=level, alike=0, a_day=a_day)
                delays.append(quality_told(errors, age, limit, range(age + 5, age + 101)) or 101)
            yield Cell(
                f"good for {age} days, then worse by twice `drop`, {a_day:,} labels a day", "broken within 35 days",
                int(np.sum(np.array(delays) <= 35)), trials, Bar(least=0.95), remark=middle(delays),
            )  # fmt: skip
    for level, name in ((0.0, "nothing changes"), (DROP, "just at the limit")):
        for alike in (0.0, 0.35, 0.7):
            rng = np.random.default_rng([SEED, 2, int(100 * alike), int(100 * level)])
            told, many = 0, trials if level == 0 else -(-trials // 8)
            for _ in range(many):
                errors = day_errors(rng, 180 + QUARTER, level=level, alike=alike, a_day=100)
                told += quality_told(errors, 0, limit, range(181, 181 + QUARTER)) is not None
            yield Cell(
                f"{name}, days alike by {alike:g}", "broken in a quarter of daily looks", told, many, Bar(most=0.01)
                if level == 0 or alike == 0 else None,
            )  # fmt: skip


def middle(delays: list[int], never: int = 101) -> str:
    """The median delay."""
    found = float(np.median(delays))
    return f"half of them within {found:.0f} days" if found < never else "half of them never"


# ---------------------------------------------------------------------------- labels and scores


@dataclass(frozen=True)
class Champion:
    """A version as the monitor meets it."""

    bundle: Bundle
    calibration: Calibration
    policy: Policy

    @property
    def bias(self) -> float:
        """How far off its answers may be."""
        return self.policy.monitor.max_bias or 0.0

    @classmethod
    def of(cls, folder: Path, world: World, rng: np.random.Generator) -> Champion:
        """Test it on rows of a world as it was."""
        facts = ModelFacts(name="model", answer="yes", kind=world.kind, threshold=0.5, features=[], contract="")
        if not (folder / SUMS).is_file():
            folder.mkdir(exist_ok=True)
            write_json(folder / "model.json", facts)
            write_json(folder / "expected.json", Expected())
            (folder / SUMS).write_text("the champion")
        scores, truth, days = replace(world, change=None).rows(rng, TESTED_DAYS, TESTED_ROWS)
        found = Calibration.of(Rows(scores, truth, days.astype(np.int64)), kinds.named(world.kind))
        if found is None:
            raise ValueError("too few test rows")
        policy = Policy(
            gates=Gates(
                metrics={"error": MetricGate(max=1.0)}, slices=[], limits=LimitGate(model_megabytes=1, one_row_ms=1)
            ),
            monitor=LIMITS if world.kind == "class" else msgspec.structs.replace(LIMITS, max_bias=BIAS_OF_NUMBER),
            serving=ServingPolicy(max_body_kb=1, max_rows=1, requests_per_second=1, return_score=False),
            labels=LabelPolicy(source="labels", key=["id"]),
        )
        return cls(Bundle(folder), found, policy)


def log_of(champion: Champion, scores: Floats, truth: Floats, days: Floats) -> pl.DataFrame:
    """The same as the prediction log joined with labels has it; each day at noon."""
    frame = pl.DataFrame(
        {"at": times(days), "score": scores, "truth": truth, "is_due": np.ones(len(scores), dtype=bool)}
    )
    return frame.with_columns(
        pl.lit(champion.bundle.digest).alias("digest"),
        pl.col("at").dt.replace_time_zone(None).alias(CONTRACT.time or "day"),
    )


def times(days: Floats) -> pl.Series:
    """Noon of each day."""
    return pl.Series((days + 0.5) * 86_400_000_000, dtype=pl.Int64).cast(pl.Duration("us")) + START


def judged(champion: Champion, log: pl.DataFrame, days: int) -> Concept:
    """What the monitor says of labels at the end of a day."""
    found = concept.measure(
        champion.bundle, log, champion.policy, START + timedelta(days=days), champion.calibration
    )  # fmt: skip
    if found is None:
        raise ValueError("no rule")
    return found


def contradicts(found: Concept, limit: float) -> bool:
    """Whether the verdict says one thing, and the drawn bands with the mean another."""
    drawn = any(band.moved for band in found.bands)
    shown = [abs(band.now - band.reference) for band in found.bands]
    outcome = found.outcome
    is_seen = max(shown, default=0) >= limit or (outcome and abs(outcome.happened - outcome.expected) >= limit)
    return (found.state is ConceptState.OK and drawn) or (found.state is ConceptState.MOVED and not is_seen)


def concept_cells(trials: int, folder: Path) -> Iterator[Cell]:
    """False alarms of labels, a relation that is reversed, and whether verdict and picture agree."""
    against = looks = 0
    worlds = {
        "": World(), ", overconfident by half": World(overconfident=1.5), ", days alike by 0.35": World(alike=0.35),
        ", days alike by 0.7": World(alike=0.7), ", a number": World(kind="number"),
    }  # fmt: skip
    for number, (name, world) in enumerate(worlds.items()):
        rng, told = np.random.default_rng([SEED, 3, number]), 0
        for _ in range(trials):
            champion = Champion.of(folder / world.kind, world, rng)
            found = judged(champion, log_of(champion, *world.rows(rng, 28, 100)), 28)
            told += found.state is ConceptState.MOVED
            against, looks = against + contradicts(found, champion.bias), looks + 1
        bar = Bar(most=0.01) if world.alike == 0 else None
        yield Cell(f"labels as expected{name}", "labels moved, in a run", told, trials, bar)
    for number, (name, kind, a_day) in enumerate(
        [("", "class", 100), ("", "class", 10_000), (", a number", "number", 100)]
    ):
        world = World(kind=kind, good=28, change=reversed_)
        rng, told, many = np.random.default_rng([SEED, 4, number]), [], trials if a_day < 1000 else -(-trials // 10)
        for _ in range(many):
            champion = Champion.of(folder / kind, world, rng)
            log = log_of(champion, *world.rows(rng, 42, a_day))
            found = [judged(champion, log, end) for end in (35, 42)]
            told.append(next((place for place, one in enumerate(found) if one.state is ConceptState.MOVED), 2))
            against, looks = against + sum(contradicts(one, champion.bias) for one in found), looks + 2
        hits = int(np.sum(np.array(told) < 2))
        remark = f"in the first of {np.mean(np.array(told) == 0):.0%}"
        yield Cell(
            f"relation reversed{name}, {a_day:,} rows a day", "labels moved in the first or second full window", hits,
            many, Bar(least=0.95), remark=remark,
        )  # fmt: skip
    yield Cell("all of these", "verdict and bands contradict each other", against, looks, Bar(most=0.0))


def estimate_cells(trials: int) -> Iterator[Cell]:
    """Whether the metric is where the scores let expect it, and how often a finding is none."""
    worlds = {
        "as it was": World(), "overconfident by half": World(overconfident=1.5),
        "rows more like each other": World(change=narrowed),
        "a number": World(kind="number"),
    }  # fmt: skip
    for number, (name, world) in enumerate(worlds.items()):
        rng, covered, false = np.random.default_rng([SEED, 5, number]), 0, 0
        for _ in range(trials):
            scores, truth, days = replace(world, change=None).rows(rng, TESTED_DAYS, TESTED_ROWS)
            tested = Rows(scores, truth, days.astype(np.int64))
            calibration = Calibration.of(tested, kinds.named(world.kind))
            scores, truth, days = world.rows(rng, 7, 100)
            frame = pl.DataFrame({"at": times(days), "score": scores, "truth": truth})
            usual = squared(tested.truth, tested.scores)
            drop = DROP if world.kind == "class" else 0.2
            rule = MetricRule("error", squared, sign=-1, limit=usual + drop, accepted=drop)
            found = estimate.compare(calibration, frame, frame, rule, LIMITS)
            if found.labelled is None or found.happened is None:
                raise ValueError(found.sentence)
            covered += found.labelled.low <= found.happened <= found.labelled.high
            false += found.state is not EstimateState.OK
        yield Cell(
            f"700 rows, {name}", "mean squared error within the interval of the scores", covered, trials,
            Bar(least=0.9),
        )  # fmt: skip
        if world.change is None:
            yield Cell(f"700 rows, {name}", "expected metric a finding", false, trials, Bar(most=0.01))


def squared(truth: Floats, scores: Floats) -> float:
    """The Brier score of probabilities."""
    return float(np.mean(np.square(truth - scores)))


def cells(trials: int, *, peers: int) -> Iterator[Cell]:
    """All worlds of this part; the others have nothing like it, so none is asked."""
    del peers
    yield from quality_cells(trials)
    with tempfile.TemporaryDirectory() as folder:
        yield from concept_cells(trials, Path(folder))
        yield from estimate_cells(trials)
