"""What trials say: which parameters are the best, and whether they are better than the present ones.

The interval of the mean gain over folds is Student's (Student, "The probable error of a mean", Biometrika 6(1), 1908),
of which only the lower end is asked. It takes folds as independent; as they share rows that are learned from, it is
narrower than it should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import msgspec
import numpy as np
from scipy.special import stdtrit

from slipway.base.numbers import counted, shown, significant
from slipway.training.study import Tried

CONFIDENCE = 0.95
#: So many of the best are shown.
SHOWN = 5


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters with their mean over the folds and the standard deviation between these; `number` 0 is the present."""

    number: int
    params: dict[str, Any]
    mean: float
    spread: float


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """By how much the best is better than the present, fold by fold, measured anew; above 0 is better.

    With the confidence of `CONFIDENCE` the mean is above `low`.
    """

    folds: list[float]
    mean: float
    low: float

    @property
    def high(self) -> float:
        """With the same confidence, the mean is below this."""
        return 2 * self.mean - self.low

    @property
    def is_sure(self) -> bool:
        """Whether chance does not explain it."""
        return self.low > 0


class BestParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The best parameters that a search, or a comparison of candidates, has found; `subject` says whose they are.

    `gain` is `None` where the present parameters were the best. `changes` are the values that are better, and empty
    where chance may explain the difference.
    """

    model: str
    metric: str
    sign: int
    key: str
    folds: str
    rows: int
    present: Ranked
    best: Ranked
    gain: Gain | None
    changes: dict[str, Any]
    subject: str
    sentence: str
    remarks: list[str]
    page: str


class SearchResult(BestParameters, frozen=True, kw_only=True):
    """What a search has found."""

    tried: list[Tried]
    ranked: list[Ranked]
    importance: dict[str, float]


def conclude(
    model: str,
    metric: str,
    sign: int,
    tried: Sequence[Tried],
    ranked: Sequence[Tried],
    anew: tuple[list[float], list[float]] | None,
    *,
    importance: Mapping[str, float],
    key: str,
    folds: str,
    rows: int,
) -> SearchResult:
    """Say what was found; `ranked` is the best first, and `anew` holds what it and the present are worth anew."""
    gain = None if anew is None else gain_of([sign * (best - now) for best, now in zip(*anew, strict=True)])
    best, present = (ranked_of(one) for one in (ranked[0], tried[0]))
    trials = len(tried) - 1
    which = f"trial {best.number}, the best of {trials:,}," if gain else counted(trials, "trial")
    return SearchResult(
        model=model,
        metric=metric,
        sign=sign,
        key=key,
        folds=folds,
        rows=rows,
        tried=[*tried],
        present=present,
        best=best,
        ranked=[ranked_of(one) for one in ranked[:SHOWN]],
        importance=dict(importance),
        gain=gain,
        changes=changes_of(best, present, gain),
        subject=f"the parameters of the best of {trials} trials",
        sentence=sentence_of(metric, which, present, gain),
        remarks=[*_remarks(tried)],
        page="reports/search.html",
    )


def best_of(tried: list[Tried], sign: int) -> list[Tried]:
    """What was measured on all folds, the best first; parameters that were tried twice stand there once."""
    measured = sorted((one for one in tried if one.outcome == "measured"), key=lambda one: -sign * one.mean)
    return [one for place, one in enumerate(measured) if all(one.params != other.params for other in measured[:place])]


def changes_of(best: Ranked, present: Ranked, gain: Gain | None) -> dict[str, Any]:
    """The values in which the best differs from the present; none where chance may explain the gain."""
    if gain is None or not gain.is_sure:
        return {}
    now, nothing = present.params, object()
    return {name: value for name, value in best.params.items() if value != now.get(name, nothing)}


def gain_of(folds: list[float]) -> Gain:
    """The mean of what was gained in each fold, and what it is at least.

    >>> gain = gain_of([0.01, 0.02, 0.03])
    >>> round(gain.mean, 4), round(gain.low, 4), gain.is_sure
    (0.02, 0.0031, True)
    """
    many, values = len(folds), np.array(folds)
    mean = float(values.mean())
    below = float(stdtrit(many - 1, CONFIDENCE) * values.std(ddof=1)) / sqrt(many)
    return Gain(folds=folds, mean=mean, low=mean - below)


def search_text(result: SearchResult) -> str:
    """Write a result for a terminal, the answer last."""
    width = max([9, *(len(shown_value(value)) for one in _rows(result) for value in one.params.values())])
    names = [f"{name:>{max(width, len(name))}}" for name in result.present.params]
    head = f"{'':>9}  {result.metric:>9}  {'spread':>7}  " + "  ".join(names)
    lines = [
        f"{name_of(one):>9}  {one.mean:9.4f}  {one.spread:7.4f}  "
        + "  ".join(
            f"{shown_value(value):>{len(name)}}" for name, value in zip(names, one.params.values(), strict=True)
        )
        for one in _rows(result)
    ]
    ends = [*result.remarks, f"page: {result.page}"]
    return "\n".join([head, *lines, "", *ends, "", result.sentence])


def name_of(one: Ranked) -> str:
    """How a trial is called."""
    return f"trial {one.number}" if one.number else "present"


def shown_value(value: Any) -> str:
    """A value of a parameter as `params.yaml` has it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rows(result: SearchResult) -> list[Ranked]:
    """The best and, if it is not among them, the present one."""
    rows = result.ranked
    return rows if any(not one.number for one in rows) else [*rows, result.present]


def ranked_of(one: Tried) -> Ranked:
    """What was measured, in two numbers."""
    return Ranked(number=one.number, params=one.params, mean=one.mean, spread=float(np.std(one.values, ddof=1)))


def sentence_of(metric: str, which: str, present: Ranked, gain: Gain | None) -> str:
    """The answer; `which` names the best, or how many the present parameters are the best of."""
    if gain is None:
        return f"the present parameters are the best of {which}: {metric} {shown(present.mean)}"
    anew = f"measured anew on {len(gain.folds)} other folds and with another seed"
    better = f"better by {_short(gain.mean)} in {metric}"
    if gain.is_sure:
        return f"{which} is {better}, and at least by {_short(gain.low)}, {anew}"
    less = f"was {better} when {anew}, which may be chance" if gain.mean > 0 else f"was not better when {anew}"
    return f"the present parameters stay: {which} {less}"


def _short(gain: float) -> str:
    """A gain has no more than two digits that tell."""
    return f"{significant(gain, 2):g}"


def _remarks(tried: Sequence[Tried]) -> Iterator[str]:
    """What was not measured, and why."""
    stopped = sum(one.outcome == "stopped" for one in tried)
    failed = [one for one in tried if one.outcome == "failed"]
    if stopped:
        yield f"stopped early, as worse than the median of the others: {counted(stopped, 'trial')}"
    if failed:
        yield f"failed: {counted(len(failed), 'trial')}, first trial {failed[0].number}: {failed[0].reason}"
