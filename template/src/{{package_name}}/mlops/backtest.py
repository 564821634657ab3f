"""How a model ages: its quality by age, measured on the project's own past.

Models learn from what came before several cut-off dates, and each is measured on every later window. In a window an
old model and the one that learned up to that window meet the same rows. What they differ by is what age costs; how hard
a season is for any model falls out of it, and so does what no retraining would have cured.

The interval of a mean over cut-offs is Student's (Student, "The probable error of a mean", Biometrika 6(1), 1908). It
takes cut-offs as independent; as neighbours share most of their rows, it is narrower than it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from math import ceil, sqrt
from typing import Any

import msgspec
import numpy as np
import polars as pl
from scipy.special import stdtrit

from .. import model as team
from ..contract import CONTRACT
from ..metrics import metrics
from . import kinds
from .errors import MlopsError
from .project import Params, Project
from .training import learned_from

#: More models than this take too long, and their windows would tell the same story.
MOST_CUT_OFFS = 12
#: Of longer pasts a model learns from a random part, the same one every time.
MOST_ROWS = 50_000
SEED = 1
#: Ages with fewer cut-offs are shown and decide nothing: of two points nobody knows the spread.
LEAST_CUT_OFFS = 3
CONFIDENCE = 0.95
#: Without another wish the first cut-off leaves this part of the past to learn from.
WARM_UP = 1 / 3

#: Measures a model on rows; `None` where they do not decide the metric.
Measure = Callable[[pl.DataFrame], float | None]
#: Trains a model on rows and returns what measures it; `None` where there is nothing to learn.
Learn = Callable[[pl.DataFrame], Measure | None]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
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
    measured: list[Measured]
    ages: list[Age]
    drops_at_days: float | None
    max_age_days: float | None
    sentence: str
    next_step: str
    remarks: list[str]
    page: str


@dataclass(frozen=True)
class Past:
    """Rows with their outcomes and their times, in the column `time`; fewer than `min_rows` of them say nothing."""

    frame: pl.DataFrame
    time: str
    min_rows: int

    def between(self, start: datetime | None, end: datetime) -> pl.DataFrame:
        """Rows from `start`, or from the beginning, to just before `end`."""
        when = pl.col(self.time)
        earlier = self.frame.filter(when < end)
        return earlier.filter(when >= start) if start else earlier


def run(project: Project, window: timedelta, history: timedelta | None, say: Callable[[str], None]) -> Backtest:
    """Measure models of all ages on the validated rows, and write the page about it.

    `history` is how far back each model learns from; without it from everything before, as the pipeline does.
    Raises `MlopsError` where rows have no time, the policy does not say what a drop is, or the past is too short.
    """
    from . import backtest_page

    if CONTRACT.time is None:
        raise MlopsError(
            "the contract names no time, so rows have no order and the age of a model means nothing here",
            "if rows have a time, name it in contract.py",
        )
    rule = project.policy.monitor.quality
    if rule is None or rule.drop is None:
        raise MlopsError(
            "policy.yaml does not say how much worse a model may become", "set monitor.quality with a metric and a drop"
        )
    past = Past(_rows(project, CONTRACT.time), CONTRACT.time, project.policy.monitor.min_rows)
    starts = cut_offs(past.frame[0, past.time], past.frame[-1, past.time], window, history)
    sign = project.policy.gates.metrics[rule.metric].sign
    learn = team_model(project.params, rule.metric)
    measured = list(measure(past, starts, window, history, learn, sign=sign, say=say))
    if not any(one.age_days for one in measured):
        raise MlopsError(
            f"no two windows of {_days(window):g} days have {past.min_rows:,} rows "
            f"that decide {rule.metric}, and as many to learn from",
            "choose a longer --window",
        )
    result = conclude(measured, project.tool.model, rule.metric, rule.drop, window, history)
    result = msgspec.structs.replace(result, remarks=[*_bounds(starts, window, measured), *result.remarks])
    backtest_page.write(result, project.root)
    return result


def team_model(params: Params, metric: str) -> Learn:
    """The project's own model and metric. It is measured before conversion, which changes no score."""

    def learn(rows: pl.DataFrame) -> Measure | None:
        inputs, truth = learned_from(rows)[1:]
        if len(np.unique(truth)) < 2:
            return None
        estimator: Any = team.build(params.seed, **params.model).fit(inputs, truth)
        kind = kinds.of(estimator)

        def value(rows: pl.DataFrame) -> float | None:
            inputs, truth = learned_from(rows)[1:]
            return metrics(truth, kind.predicted(estimator, inputs), params.decision.threshold).get(metric)

        return value

    return learn


def cut_offs(oldest: datetime, newest: datetime, window: timedelta, history: timedelta | None) -> list[datetime]:
    """Return where windows begin that leave enough to learn from before them; the last window ends with the data.

    Of more than `MOST_CUT_OFFS` every second, third ... is kept.
    """
    end = datetime.combine(newest.date() + timedelta(days=1), time())
    first = oldest + (history or WARM_UP * (end - oldest))
    starts = [end - number * window for number in range(1, max(0, (end - first) // window) + 1)]
    if len(starts) < 2:
        raise MlopsError(
            f"the data cover {_days(end - oldest):,.0f} days; after the {_days(first - oldest):,.0f} of them that "
            f"the first model learns from, there are no two windows of {_days(window):g} days",
            "choose a shorter --window or --history",
        )
    return starts[:: ceil(len(starts) / MOST_CUT_OFFS)][::-1]


def measure(
    past: Past,
    starts: list[datetime],
    window: timedelta,
    history: timedelta | None,
    learn: Learn,
    *,
    sign: int,
    say: Callable[[str], None],
) -> Iterator[Measured]:
    """Train a model at each start, measure it on every window from there on, and yield them window by window.

    `sign` is 1 for a metric that is better when higher, -1 for the others. Windows and pasts with too few rows are
    left out, and so is what does not decide the metric.
    """
    windows = {start: rows for start in starts if (rows := past.between(start, start + window)).height >= past.min_rows}
    models: dict[datetime, Measure] = {}
    learned: dict[datetime, int] = {}
    for number, cut_off in enumerate(windows, start=1):
        rows = past.between(cut_off - history if history else None, cut_off)
        rows = rows.sample(min(rows.height, MOST_ROWS), seed=SEED)
        say(f"backtest: model {number} of {len(windows)}, on {rows.height:,} rows before {cut_off:%Y-%m-%d}")
        model = learn(rows) if rows.height >= past.min_rows else None
        if model is not None:
            models[cut_off], learned[cut_off] = model, rows.height
    for start, rows in windows.items():
        values = {cut_off: model(rows) for cut_off, model in models.items() if cut_off <= start}
        fresh = values.get(start)
        for cut_off, value in values.items():
            if value is not None and fresh is not None:
                yield Measured(
                    cut_off=cut_off,
                    window=start,
                    age_days=_days(start - cut_off),
                    learned_rows=learned[cut_off],
                    rows=rows.height,
                    value=value,
                    fresh=fresh,
                    worse_by=sign * (fresh - value) + 0.0,  # no minus before a zero
                )


def conclude(
    measured: list[Measured], model: str, metric: str, drop: float, window: timedelta, history: timedelta | None
) -> Backtest:
    """Say from which age on models are worse than fresh ones by `drop`, and what follows for the policy."""
    ages = by_age(measured)
    dropped = next((age for age in ages if age.worse_by >= drop and age.low is not None and age.low > 0), None)
    vouched = _vouched(ages, drop)
    limit = dropped.days if dropped else vouched.days + _days(window) if vouched else None
    return Backtest(
        model=model,
        metric=metric,
        drop=drop,
        window_days=_days(window),
        history_days=_days(history) if history else None,
        measured=measured,
        ages=ages,
        drops_at_days=dropped.days if dropped else None,
        max_age_days=limit,
        sentence=_sentence(ages, dropped, vouched, metric, drop),
        next_step=_next_step(limit, dropped),
        remarks=[_seasons(measured, metric)],
        page="reports/age.html",
    )


def by_age(measured: list[Measured]) -> list[Age]:
    """Take together what was measured at one age, the youngest first."""
    found: dict[float, list[Measured]] = {}
    for one in measured:
        found.setdefault(one.age_days, []).append(one)
    return [_age(days, found[days]) for days in sorted(found)]


def as_text(result: Backtest) -> str:
    """Write a back-test for a terminal, the answer last."""
    head = f"{'age':>9}  cut-offs  {result.metric:>9}      fresh   worse by  {'between':>22}  {'least to most':>22}"
    blocks = [[told(result)], [head, *map(_line, result.ages)], [*result.remarks, f"page: {result.page}"]]
    return "\n\n".join("\n".join(lines) for lines in [*blocks, [result.sentence, f"next: {result.next_step}"]])


def told(result: Backtest) -> str:
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


def _rows(project: Project, time: str) -> pl.DataFrame:
    valid = project.root / "data" / "valid.parquet"
    if not valid.is_file():
        raise MlopsError("there are no validated rows in this checkout", "mlops pipeline (or `dvc pull`)")
    return pl.read_parquet(valid).drop_nulls(time).sort(time, maintain_order=True)


def _days(span: timedelta) -> float:
    return span / timedelta(days=1)


def _age(days: float, found: list[Measured]) -> Age:
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
    return f"set max_age_days: {limit:g} below monitor in policy.yaml; {why}"


def _seasons(measured: list[Measured], metric: str) -> str:
    """What retraining does not cure."""
    fresh = [one.value for one in measured if not one.age_days]
    spread = f"{min(fresh):.4f} and {max(fresh):.4f}"
    return f"mind: {metric} of fresh models is between {spread}; no retraining changes that"


def _bounds(starts: list[datetime], window: timedelta, measured: list[Measured]) -> Iterator[str]:
    """What was not looked at, and why."""
    if (apart := (starts[1] - starts[0]) // window) > 1:
        yield f"to save time, one window in {apart} is measured"
    if any(one.learned_rows == MOST_ROWS for one in measured):
        yield f"to save time, a model learns from at most {MOST_ROWS:,} rows, drawn at random"
    if missing := sorted(set(starts) - {one.window for one in measured}):
        yield f"left out, for too few rows: {', '.join(f'{start:%Y-%m-%d}' for start in missing)}"
