"""Trials of which it is known who is better, looked at every day from the fifth to the ninetieth.

A trial is drawn as sums of losses by arm, by day and by random group of rows, and by client where there are some: what
the metric is without a day, a group or a client follows from these at once, which is all that a verdict needs. Losses
are those of a Brier score or like them, lower is better, and the smallest gain that matters is 0.01. Days do not depend
on each other unless a row of the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.signal import lfilter
from slipway import Contract, Row
from slipway.experiment import routing
from slipway.experiment.spread import GROUPS, Clusters
from slipway.experiment.statistics import MOST_BLOCKS, UNLIKE, Decision, Estimate, gain, label_chance, settle
from slipway.settings.policy import ExperimentPolicy
from truth import Bar, Cell

SEED = 20_291
DAYS, FIRST_LOOK, SOON, LATER = 90, 5, 30, 60
MATTERS = 0.01
RULE = ExperimentPolicy(metric="brier", smallest_gain=MATTERS, min_rows=500, max_days=DAYS)
LEAST_LABELLED = 0.9
WRONG, AUTOCORRELATED = Bar(most=0.05), Bar(most=0.06)
FOUND = Bar(least=0.95)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Arm:
    """Labelled rows of one version: how many, and the sum of their losses, by day and group, and by day and client."""

    counts: Ints
    sums: Floats
    due: Ints
    client_counts: Ints | None = None
    client_sums: Floats | None = None


@dataclass
class World:
    """How a trial is drawn, and what is known of it."""

    name: str
    draw: Callable[[np.random.Generator], tuple[Arm, Arm]]
    counted: dict[str, Bar | None] = field(default_factory=lambda: dict(A_A))
    paired: bool = False
    remark: str = ""


A_A: dict[str, Bar | None] = {"promoted or stopped, wrongly": WRONG}
A_A_ALIKE: dict[str, Bar | None] = {"promoted or stopped, wrongly": AUTOCORRELATED}
SHOWN: dict[str, Bar | None] = {"promoted or stopped, wrongly": None}
PROMOTE: dict[str, Bar | None] = {"promoted, wrongly": WRONG}
BETTER: dict[str, Bar | None] = {f"promoted by day {SOON}": FOUND}
BETTER_LATER: dict[str, Bar | None] = {f"promoted by day {SOON}": None, f"promoted by day {LATER}": FOUND}
BETTER_SHOWN: dict[str, Bar | None] = {**dict.fromkeys(BETTER_LATER), "promoted": None}


def cells(trials: int, *, peers: int) -> Iterator[Cell]:
    """The rows of the table; the peers have no sequential test, so there is nothing to ask them."""
    del peers
    for number, world in enumerate(WORLDS):
        rng = np.random.default_rng([SEED, number])
        ends = [judged(*world.draw(rng), paired=world.paired) for _ in range(trials)]
        promoted = [day for decision, day in ends if decision is Decision.PROMOTE]
        stopped = sum(decision is Decision.STOP for decision, _ in ends)
        hits = {
            "promoted or stopped, wrongly": len(promoted) + stopped,
            "promoted, wrongly": len(promoted),
            f"promoted by day {SOON}": sum(day <= SOON for day in promoted),
            f"promoted by day {LATER}": sum(day <= LATER for day in promoted),
            "promoted": len(promoted),
        }
        ended = f"promoted {len(promoted)}, median on day {np.median(promoted):.0f}; " if promoted else "promoted 0; "
        ended += f"stopped {stopped}, kept {sum(decision is Decision.KEEP for decision, _ in ends)}"
        for counted, bar in world.counted.items():
            remark = ". ".join(filter(None, (ended, world.remark)))
            yield Cell(world.name, counted, hits[counted], trials, bar, remark=remark)


def judged(champion: Arm, challenger: Arm, *, paired: bool) -> tuple[Decision, int]:
    """Look every day until something is decided; the decision and its day."""
    arms = champion, challenger
    for day in range(FIRST_LOOK, DAYS + 1):
        verdict = look([until(arm, day) for arm in arms], day, paired=paired)
        if verdict is not Decision.WAIT:
            return verdict, day
    return Decision.WAIT, DAYS


def look(arms: list[Arm], day: int, *, paired: bool) -> Decision:
    """Ask the functions that `mlops decide` asks."""
    rows = int(arms[0].counts.sum()), int(arms[1].counts.sum())
    labelled, due = [arm.counts.sum(axis=1) for arm in arms], [arm.due for arm in arms]
    if min(rows) < RULE.min_rows or any(
        known.sum() < LEAST_LABELLED * asked.sum() for known, asked in zip(labelled, due, strict=True)
    ):
        return Decision.WAIT
    unfit = "labels" if label_chance(labelled, due) < UNLIKE else ""
    # Rows that must not decide need no gain, which takes the most time here.
    found = None if unfit else seen(arms, paired=paired)
    return settle(found, min(rows), RULE, days=day, unfit=unfit).decision


def seen(arms: list[Arm], *, paired: bool) -> Estimate | None:
    """The challenger's gain, from sums in the place of rows."""
    found = gain(
        left_out(arms[1], axis=1) - left_out(arms[0], axis=1),
        (left_out(arms[0], axis=0), left_out(arms[1], axis=0)),
        (int(arms[0].counts.sum()), int(arms[1].counts.sum())),
        paired=paired,
        clusters=clusters(arms),
    )
    return found and msgspec.structs.replace(found, value=-found.value)


def until(arm: Arm, day: int) -> Arm:
    """What is known of an arm on a day."""
    by_client = None if arm.client_sums is None or arm.client_counts is None else arm.client_sums[:day]
    counts = None if by_client is None or arm.client_counts is None else arm.client_counts[:day]
    return Arm(arm.counts[:day], arm.sums[:day], arm.due[:day], counts, by_client)


def left_out(arm: Arm, axis: int) -> Floats:
    """The mean loss of all rows, and without each day (axis 1) or each group (axis 0)."""
    return _without(arm.counts.sum(axis=axis), arm.sums.sum(axis=axis))


def _without(counts: Ints, sums: Floats) -> Floats:
    return (sums.sum() - np.append(0, sums)) / (counts.sum() - np.append(0, counts))


def clusters(arms: list[Arm]) -> list[Clusters]:
    """The arms without each client."""
    if arms[0].client_counts is None:
        return []
    counts = [arm.client_counts.sum(axis=0) for arm in arms if arm.client_counts is not None]
    sums = [arm.client_sums.sum(axis=0) for arm in arms if arm.client_sums is not None]
    seen = (counts[0] + counts[1]) > 0
    without = [_without(number[seen], total[seen]) for number, total in zip(counts, sums, strict=True)]
    return [Clusters(without[1] - without[0], min(int((number > 0).sum()) for number in counts))]


def arm_of(days: Ints, losses: Floats, known: NDArray[np.bool_] | None, rng: np.random.Generator) -> Arm:
    """Rows as sums; rows that are not `known` have no label."""
    due = np.bincount(days, minlength=DAYS)
    if known is not None:
        days, losses = days[known], losses[known]
    cells = days * GROUPS + rng.integers(GROUPS, size=len(days))
    shape = DAYS, GROUPS
    counts = np.bincount(cells, minlength=DAYS * GROUPS).reshape(shape)
    return Arm(counts, np.bincount(cells, losses, DAYS * GROUPS).reshape(shape), due)


def alike(rng: np.random.Generator, autocorrelation: float, spread: float) -> Floats:
    """Daily effects of a stationary series of the first order."""
    steps = rng.normal(0, spread * np.sqrt(1 - autocorrelation**2), DAYS)
    steps[0] = rng.normal(0, spread)
    return np.asarray(lfilter([1], [1, -autocorrelation], steps))


def shadow(
    autocorrelation: float = 0, spread: float = 0, better: float = 0, a_day: int = 200, noise: float = 0.04
) -> Callable[[np.random.Generator], tuple[Arm, Arm]]:
    """Both versions answer the same rows; on each day one of them may be favoured."""

    def draw(rng: np.random.Generator) -> tuple[Arm, Arm]:
        counts = rng.multinomial(a_day, np.full(GROUPS, 1 / GROUPS), DAYS)
        common = counts * 0.15 + np.sqrt(counts) * rng.normal(0, 0.2, counts.shape)
        common += counts * rng.normal(0, 0.03, (DAYS, 1))
        apart = counts * (alike(rng, autocorrelation, spread)[:, None] - better)
        apart += np.sqrt(counts) * rng.normal(0, noise, counts.shape)
        due = counts.sum(axis=1)
        return Arm(counts, common, due), Arm(counts, common + apart, due)

    return draw


def canary(
    share: float,
    a_day: int,
    better: float = 0,
    losses: Callable[[np.random.Generator, int], Floats] | None = None,
    missing: float = 0,
) -> Callable[[np.random.Generator], tuple[Arm, Arm]]:
    """Each request meets one version, by chance; days are worse or better for both."""

    def draw(rng: np.random.Generator) -> tuple[Arm, Arm]:
        is_tried = rng.random(a_day * DAYS) < share
        days = np.arange(a_day * DAYS) // a_day
        drawn = losses(rng, len(days)) if losses else rng.normal(0.15, 0.2, len(days))
        drawn = drawn + rng.normal(0, 0.03, DAYS)[days] - better * is_tried
        known = rng.random(len(days)) >= missing
        parts = ~is_tried, is_tried
        first, second = (arm_of(days[part], drawn[part], known[part], rng) for part in parts)
        return first, second

    return draw


def pareto(shape: float) -> Callable[[np.random.Generator, int], Floats]:
    """Losses with a heavy tail, of half the scale of a Brier score."""
    return lambda rng, rows: 0.1 * (1 + rng.pareto(shape, rows))


def unlabelled(
    share: float, of_yes: float, a_day: int = 1000, missing: float = 0
) -> Callable[[np.random.Generator], tuple[Arm, Arm]]:
    """Of the challenger's rows that were true, some never get a label; of all rows, some have none by chance."""

    def draw(rng: np.random.Generator) -> tuple[Arm, Arm]:
        days = np.arange(a_day * DAYS) // a_day
        is_tried = rng.random(len(days)) < share
        logit = rng.normal(-1.3, 1, len(days))
        scores = 1 / (1 + np.exp(-logit))
        happened = rng.random(len(days)) < scores
        known = rng.random(len(days)) >= missing
        known &= ~(is_tried & happened & (rng.random(len(days)) < of_yes))
        drawn = (scores - happened) ** 2
        parts = ~is_tried, is_tried
        first, second = (arm_of(days[part], drawn[part], known[part], rng) for part in parts)
        return first, second

    return draw


class _Asked(Row):
    user: int
    amount: float


class _Happened(Row):
    paid: bool


CONTRACT = Contract(row=_Asked, outcome=_Happened, key=("user",))
USERS, WEIGHTS = 400, 1 / np.arange(1, 401)


def sticky(
    share: float, known_as: str, users: int = USERS, a_day: int = 500
) -> Callable[[np.random.Generator], tuple[Arm, Arm]]:
    """Each user always meets the same version: told as `key`, found in the `log`, or to be seen `nowhere`."""

    def draw(rng: np.random.Generator) -> tuple[Arm, Arm]:
        weights = WEIGHTS[:users] / WEIGHTS[:users].sum()
        days = np.arange(a_day * DAYS) // a_day
        user = rng.choice(users, len(days), p=weights)
        of_user = rng.random(users) < share
        of_user[rng.choice(users, 2, replace=False)] = [False, True]
        drawn = rng.normal(0.15, 0.1, users)[user] + rng.normal(0, 0.2, len(days)) + rng.normal(0, 0.03, DAYS)[days]
        arms = []
        for part in (~of_user[user], of_user[user]):
            arm = arm_of(days[part], drawn[part], None, rng)
            if known_as == "key" or (known_as == "log" and _is_seen(days, user, of_user[user], rng)):
                places = days[part] * MOST_BLOCKS + user[part] % MOST_BLOCKS
                shape = DAYS, MOST_BLOCKS
                arm.client_counts = np.bincount(places, minlength=DAYS * MOST_BLOCKS).reshape(shape)
                arm.client_sums = np.bincount(places, drawn[part], DAYS * MOST_BLOCKS).reshape(shape)
            arms.append(arm)
        return arms[0], arms[1]

    return draw


def _is_seen(days: Ints, user: Ints, is_tried: NDArray[np.bool_], rng: np.random.Generator) -> bool:
    """Whether the first week's log shows by which column requests are divided."""
    rows = days < 7
    begun = datetime(2026, 1, 1)
    log = pl.DataFrame({
        "id": [f"{number:08x}-0" for number in range(int(rows.sum()))],
        "at": [begun + timedelta(minutes=number) for number in range(int(rows.sum()))],
        "user": user[rows],
        "amount": rng.normal(0, 1, int(rows.sum())),
    })  # fmt: skip
    found = routing.always_the_same(log.filter(~is_tried[rows]), log.filter(is_tried[rows]), CONTRACT)
    return list(found) == ["user"]


WORLDS = [
    World("shadow, 200 a day, no difference", shadow(), paired=True),
    World("the same, a day favours one by 0.02", shadow(0, 0.02), paired=True),
    *(
        World(f"the same, days alike by {r}", shadow(r, 0.02), A_A_ALIKE, paired=True, remark=remark)
        for r, remark in ((0.35, ""), (0.7, "days are looked at from the fifth"), (0.9, ""))
    ),
    World(
        "the same by 0.9, under as much noise of rows",
        shadow(0.9, 0.02, noise=0.02 * 200**0.5),
        A_A_ALIKE,
        paired=True,
    ),
    *(
        World(
            f"the same by {r}, under {words} noise of rows", shadow(r, 0.02, noise=noise * 200**0.5), SHOWN, True, told
        )
        for r, words, noise, told in (
            (0.9, "half as much", 0.01, ""),
            (0.9, "twice as much", 0.04, ""),
            (0.95, "as much", 0.02, "a limit: what lasts for months is like a gain"),
        )
    ),
    *(World(f"canary {share:.0%}, 1,000 a day, no difference", canary(share, 1000)) for share in (0.5, 0.1)),
    World("canary 1 %, 5,000 a day, no difference", canary(0.01, 5000)),
    *(
        World(f"canary {share:.0%}, {a_day:,} a day, Pareto {shape}", canary(share, a_day, losses=pareto(shape)))
        for share, a_day in ((0.05, 1000), (0.01, 5000))
        for shape in (2.2, 1.5)
    ),
    *(
        World(f"canary 50 %, no label for {of_yes:.0%} of the challenger's yes", unlabelled(0.5, of_yes), PROMOTE)
        for of_yes in (0.1, 0.2, 0.3)
    ),
    World("the same for 10 %, and 5 % of all have none by chance", unlabelled(0.5, 0.1, missing=0.05), PROMOTE),
    World("canary 10 %, no label for 20 % of the challenger's yes", unlabelled(0.1, 0.2), PROMOTE),
    World("canary 50 %, 400 users who keep their version, by `key`", sticky(0.5, "key")),
    World("canary 10 %, the same", sticky(0.1, "key")),
    World("canary 50 %, the same, with no `key`, logged", sticky(0.5, "log"), remark="told, and counted by user"),
    World(
        "canary 50 %, the same, in no column of the log",
        sticky(0.5, "nowhere"),
        SHOWN,
        remark="a limit: nothing shows it",
    ),
    World("shadow, 200 a day, better by 0.01", shadow(better=MATTERS), BETTER, paired=True),
    World(
        "the same, a day favours one by 0.01, independently",
        shadow(0, 0.01, better=MATTERS),
        BETTER_LATER,
        paired=True,
    ),
    World("canary 10 %, 4,000 a day, better by 0.01", canary(0.1, 4000, MATTERS), BETTER_LATER),
    World("canary 10 %, 2,750 a day, better by 0.01", canary(0.1, 2750, MATTERS), BETTER_SHOWN),
    World(
        "canary 10 %, 4,000 a day, better by 0.01, 5 % of labels lack by chance",
        canary(0.1, 4000, MATTERS, missing=0.05),
        BETTER_LATER,
    ),
    World("canary 50 %, 1,000 a day, worse by 0.02", canary(0.5, 1000, -0.02), PROMOTE),
]
