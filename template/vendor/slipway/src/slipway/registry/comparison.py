"""Two models beside each other: what a comparison found, and which of them is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from slipway.base.numbers import counted
from slipway.registry.names import Meaning
from slipway.settings.policy import Gates, SliceGate
from slipway.training.reliability import Reliability

#: The figures of the first and of the second; `None` is one that is not known.
Figures = tuple[float | None, float | None]
Winner = Literal["first", "second", "neither"]

#: The mean distance of scores from what happened, and that which chance alone makes of so many rows.
CALIBRATION, CHANCE = "calibration_error", "calibration_error_by_chance"


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of both in one group of rows; `sign` is 1 where higher is better, -1 where lower is, and else 0."""

    column: str
    value: str
    metric: str
    sign: int
    rows: tuple[int | None, int | None]
    figures: Figures


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of two models: `scored` on one frozen set of rows, or as each `reported` them of its own.

    `first` and `second` are the number of a version, or the name that was given. `rows` are the test rows, where those
    of both are as many. `better` says of each figure that has a gate, and that both have, which of them is better.
    `intervals` say from where to where a change may be, by what was `drawn`. `baseline` and `answers` are those of what
    was reported, and the latter are there with several classes. `sentence` and `certainty` say it in words.
    """

    first: int | str
    second: int | str
    sides: tuple[Meaning, Meaning]
    how: Literal["scored", "reported"]
    sentence: str
    certainty: str
    rows: int | None
    frozen: str
    metrics: dict[str, Figures]
    better: dict[str, Winner]
    intervals: dict[str, tuple[float, float]]
    drawn: str
    baseline: dict[str, Figures]
    scores: dict[str, Figures]
    answers: dict[str, Figures]
    groups: list[GroupFigures]
    params: dict[str, tuple[str | None, str | None]]
    reliability: tuple[Reliability | None, Reliability | None]
    remarks: list[str]

    def said_of(self, name: str) -> str:
        """Which is better in a figure, in words; empty where no gate says what better is."""
        found = self.better.get(name)
        if found is None:
            return ""
        if found == "neither":
            return "the same"
        return "better" if found == "second" else "worse"


def change_of(figures: Figures) -> float | None:
    """From the first to the second; `None` where one of them is not known."""
    first, second = figures
    return None if first is None or second is None else second - first


def better_of(gates: Gates, figures: Mapping[str, Figures]) -> dict[str, Winner]:
    """Which of both is better in each figure that has a gate, and that both have."""
    signs = {name: gate.sign for name, gate in gates.metrics.items()}
    signs |= {CALIBRATION: -1} if gates.calibration else {}
    better: dict[str, Winner] = {}
    for name, sign in signs.items():
        change = change_of(figures.get(name, (None, None)))
        if change is not None:
            better[name] = "neither" if change == 0 else "second" if change * sign > 0 else "first"
    return better


def sign_of(gates: Gates, rule: SliceGate) -> int:
    """1 where a metric of groups is better when higher, -1 when lower, and 0 where the policy does not say."""
    if rule.min is not None or rule.max is not None:
        return 1 if rule.max is None else -1
    return gates.metrics[rule.metric].sign if rule.metric in gates.metrics else 0


def sentence_of(sides: tuple[Meaning, Meaning], better: Mapping[str, Winner]) -> str:
    """Which of them is better, in how many of the figures that have a gate."""
    first, second = (one.words for one in sides)
    of = f"{counted(len(better), 'metric')} that {'has' if len(better) == 1 else 'have'} a gate"
    one, other = ([*better.values()].count(side) for side in ("first", "second"))
    if not better:
        return f"no metric that has a gate is known of both {first} and {second}, so neither is called better"
    if one == other:
        each = f"each is better in {one} of {of}" if one else f"they are the same in {of}"
        return f"neither {first} nor {second} is better: {each}"
    if one > other:
        first, second, one, other = second, first, other, one
    return f"{second} is better than {first} in {other} of {of}{f', and worse in {one}' if one else ''}"


def certainty_of(better: Mapping[str, Winner], intervals: Mapping[str, tuple[float, float]], drawn: str) -> str:
    """In how many of the figures that have a gate the change is more than chance; empty without intervals."""
    known = [intervals[name] for name in better if name in intervals]
    if not known:
        return ""
    surely = sum(low > 0 or high < 0 for low, high in known)
    return f"in {surely} of {len(known)} the change is more than chance: the interval of 95 % from {drawn} leaves out 0"
