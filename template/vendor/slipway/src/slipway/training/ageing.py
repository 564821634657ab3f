"""What the measurements of a back-test say: how much worse models are at each age, and from which age on.

The interval of a mean over cut-offs is Student's (Student, "The probable error of a mean", Biometrika 6(1), 1908). It
takes cut-offs as independent; as neighbours share most of their rows, it is narrower than it should be.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import sqrt

import msgspec
import numpy as np
from scipy.special import stdtrit

from slipway.base.numbers import shown

#: Ages with fewer cut-offs are shown and decide nothing: of two points nobody knows the spread.
LEAST_CUT_OFFS = 3
CONFIDENCE = 0.95


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one later window, beside the model that learned from everything up to that window.

    `worse_by` is positive where the older model is worse, in the unit of the metric.
    """

    cut_off: datetime
    window: datetime
    age_days: float
    learned_rows: int
    rows: int
    value: float
    fresh: float
    worse_by: float


class Age(msgspec.Struct, frozen=True, kw_only=True):
    """All models at one age. `low` and `high` bound the mean `worse_by`; with few cut-offs they are unknown."""

    days: float
    cut_offs: int
    value: float
    fresh: float
    worse_by: float
    least: float
    most: float
    low: float | None
    high: float | None


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """What the past says about age; `mlops backtest --json` prints it as it is.

    `drops_at_days` is the age from which a model is worse than a fresh one by `drop`, if the past has shown that.
    `max_age_days` is what follows for policy.yaml; the past may be too short to say.
    """

    model: str
    metric: str
    drop: float
    window_days: float
    history_days: float | None
    measured: list[Measurement]
    ages: list[Age]
    drops_at_days: float | None
    max_age_days: float | None
    sentence: str
    next_step: str
    remarks: list[str]
    page: str


def conclude(
    measured: list[Measurement], model: str, metric: str, drop: float, window: timedelta, history: timedelta | None
) -> Backtest:
    """Say from which age on models are worse than fresh ones by `drop`, and what follows for the policy."""
    ages = by_age(measured)
    dropped = next((age for age in ages if age.worse_by >= drop and age.low is not None and age.low > 0), None)
    vouched = _vouched(ages, drop)
    limit = dropped.days if dropped else vouched.days + days_in(window) if vouched else None
    return Backtest(
        model=model,
        metric=metric,
        drop=drop,
        window_days=days_in(window),
        history_days=days_in(history) if history else None,
        measured=measured,
        ages=ages,
        drops_at_days=dropped.days if dropped else None,
        max_age_days=limit,
        sentence=_sentence(ages, dropped, vouched, metric, drop),
        next_step=_next_step(limit, dropped),
        remarks=[_seasons(measured, metric)],
        page="reports/age.html",
    )


def by_age(measured: list[Measurement]) -> list[Age]:
    """Take together what was measured at one age, the youngest first."""
    found: dict[float, list[Measurement]] = {}
    for one in measured:
        found.setdefault(one.age_days, []).append(one)
    return [_age(days, found[days]) for days in sorted(found)]


def backtest_text(result: Backtest) -> str:
    """Write a back-test for a terminal, the answer last."""
    head = f"{'age':>9}  cut-offs  {result.metric:>9}      fresh   worse by  {'between':>22}  {'least to most':>22}"
    blocks = [[trained(result)], [head, *map(_line, result.ages)], [*result.remarks, f"page: {result.page}"]]
    return "\n\n".join("\n".join(lines) for lines in [*blocks, [result.sentence, f"next: {result.next_step}"]])


def trained(result: Backtest) -> str:
    """Say what was trained on what."""
    learned = f"the {result.history_days:g} days" if result.history_days else "all rows"
    models = len({one.cut_off for one in result.measured})
    return (
        f"{result.model}: {models} models, each trained on {learned} before its cut-off and measured in windows of "
        f"{result.window_days:g} days"
    )


def shown_interval(age: Age) -> str:
    """Write the interval of an age; with few cut-offs there is none."""
    return "-" if age.low is None or age.high is None else f"{age.low:+.4f} to {age.high:+.4f}"


def shown_range(age: Age) -> str:
    """Write the spread over the cut-offs."""
    return f"{age.least:+.4f} to {age.most:+.4f}"


def _line(age: Age) -> str:
    return (
        f"{f'{age.days:g} days':>9}  {age.cut_offs:8}  {age.value:9.4f}  {age.fresh:9.4f}  {age.worse_by:+9.4f}"
        f"  {shown_interval(age):>22}  {shown_range(age):>22}"
    )


def days_in(span: timedelta) -> float:
    """A span of time in days."""
    return span / timedelta(days=1)


def _age(days: float, found: list[Measurement]) -> Age:
    losses = np.array([one.worse_by for one in found])
    mean, count = float(losses.mean()), len(losses)
    low = high = None
    if count >= LEAST_CUT_OFFS:
        half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2) * losses.std(ddof=1)) / sqrt(count)
        low, high = mean - half, mean + half
    return Age(
        days=days,
        cut_offs=count,
        value=float(np.mean([one.value for one in found])),
        fresh=float(np.mean([one.fresh for one in found])),
        worse_by=mean,
        least=float(losses.min()),
        most=float(losses.max()),
        low=low,
        high=high,
    )


def _vouched(ages: list[Age], drop: float) -> Age | None:
    """The oldest age up to which all intervals exclude the drop; that a fresh model is like itself says nothing."""
    vouched = None
    for age in ages:
        if not age.days:
            continue
        if age.high is None or age.high >= drop:
            break
        vouched = age
    return vouched


def _sentence(ages: list[Age], dropped: Age | None, vouched: Age | None, metric: str, drop: float) -> str:
    if dropped:
        return f"from an age of {dropped.days:g} days on a model is worse by {drop:g} in {metric}: {_evidence(dropped)}"
    judged = [age for age in ages if age.days and age.low is not None]
    if not judged:
        return f"no age has {LEAST_CUT_OFFS} cut-offs, so nothing is known of how models age"
    worst, oldest = max(judged, key=lambda age: age.worse_by), judged[-1]
    never = (
        f"up to an age of {oldest.days:g} days no model was shown to be worse than a fresh one by {drop:g} in {metric}"
    )
    known = f", the drop is excluded up to {vouched.days:g} days" if vouched else ", and at no age is it excluded"
    known = "" if vouched is oldest else known
    return f"{never}{known}; the most is at {worst.days:g} days: {_evidence(worst)}"


def _evidence(age: Age) -> str:
    return f"{age.worse_by:+.4f}, between {age.low:+.4f} and {age.high:+.4f}, in {age.cut_offs} cut-offs"


def _next_step(limit: float | None, dropped: Age | None) -> str:
    if limit is None:
        return "decide nothing yet; look again with more data, or with a shorter --window"
    why = "from there on the drop is shown" if dropped else "beyond that the data do not exclude the drop"
    return f"set max_age_days: {limit:g} below monitor in policy.yaml (mlops policy add monitor.age); {why}"


def _seasons(measured: list[Measurement], metric: str) -> str:
    """What retraining does not cure."""
    fresh = [one.value for one in measured if not one.age_days]
    spread = f"{shown(min(fresh))} and {shown(max(fresh))}"
    return f"mind: {metric} of fresh models is between {spread}; no retraining changes that"
