"""How a model ages: its quality by age, measured on the project's own past.

Models learn from what came before several cut-off dates, and each is measured on every later window. In a window an
old model and the one that learned up to that window meet the same rows. What they differ by is what age costs; how hard
a season is for any model falls out of it, and so does what no retraining would have cured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from math import ceil
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.base.files import Log
from slipway.settings.params import Params
from slipway.settings.project import Project
from slipway.team import CONTRACT
from slipway.training import engines, team_code
from slipway.training.ageing import Backtest, Measurement, conclude, days_in
from slipway.training.engines import Mapper
from slipway.training.train import learned_from

#: More models than this take too long, and their windows would tell the same story.
MOST_CUT_OFFS = 12
#: Of longer pasts a model learns from a random part, the same one every time.
MOST_ROWS = 50_000
SEED = 1
#: Without another wish the first cut-off leaves this part of the past to learn from.
WARM_UP = 1 / 3

#: Measures a model on rows; `None` where they do not decide the metric.
Measure = Callable[[pl.DataFrame], float | None]
#: Trains a model on rows and returns what measures it; `None` where there is nothing to learn.
Learn = Callable[[pl.DataFrame], Measure | None]


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


def run(project: Project, window: timedelta, history: timedelta | None, log: Log) -> Backtest:
    """Measure models of all ages on the validated rows.

    `history` is how far back each model learns from; without it from everything before, as the pipeline does.
    Raises `MlopsError` where rows have no time, the policy does not say what a drop is, or the past is too short.
    """
    if CONTRACT.time is None:
        raise MlopsError(
            "the contract names no time, so rows have no order and the age of a model means nothing here",
            "if rows have a time, name it in contract.py",
        )
    rule = project.policy.monitor.quality
    if rule is None or rule.drop is None:
        needed = "monitor.quality" if project.policy.labels else "labels monitor.quality"
        step = f"mlops policy add {needed}" if rule is None else "set monitor.quality.drop instead of its limit"
        raise MlopsError("policy.yaml does not say how much worse a model may become", step)
    past = Past(_rows(project, CONTRACT.time), CONTRACT.time, project.policy.monitor.min_rows)
    starts = cut_offs(past.frame[0, past.time], past.frame[-1, past.time], window, history)
    sign = project.policy.gates.metrics[rule.metric].sign
    learn = TeamModel(project.params, rule.metric)
    with engines.opened(project, log) as engine:
        measured = list(measure(past, starts, window, history, learn, sign=sign, log=log, engine=engine))
    if not any(one.age_days for one in measured):
        raise MlopsError(
            f"no two windows of {days_in(window):g} days have {past.min_rows:,} rows "
            f"that decide {rule.metric}, and as many to learn from",
            "choose a longer --window",
        )
    result = conclude(measured, project.tool.model, rule.metric, rule.drop, window, history)
    return msgspec.structs.replace(result, remarks=[*_bounds(starts, window, measured), *result.remarks])


@dataclass(frozen=True)
class TeamModel:
    """The project's own model and metric. It is measured before conversion, which changes no score."""

    params: Params
    metric: str

    def __call__(self, rows: pl.DataFrame) -> Measure | None:
        """Train it."""
        params = self.params
        names, inputs, truth = learned_from(rows)
        if len(np.unique(truth)) < max(2, len(classes := team.classes())):
            return None
        estimator: Any = team.model.build(params.seed, **params.model)
        team_code.fit("model", estimator, names, inputs, truth)
        kind = kinds.of(estimator, classes)
        threshold = kind.threshold(params.decision.wanted)

        def value(rows: pl.DataFrame) -> float | None:
            inputs, truth = learned_from(rows)[1:]
            return team.metrics(truth, kind.predicted(estimator, inputs), threshold).get(self.metric)

        return value


class PastRows(NamedTuple):
    """What the model of a cut-off learns from."""

    cut_off: datetime
    rows: pl.DataFrame

    def __str__(self) -> str:
        return f"the model of {self.cut_off:%Y-%m-%d}"


@dataclass(frozen=True)
class Aged:
    """Trains the model of a cut-off, and measures it on every window from there on."""

    windows: Mapping[datetime, pl.DataFrame]
    learn: Learn
    min_rows: int

    def __call__(self, sample: PastRows) -> dict[datetime, float | None]:
        """Return its value in each window; nothing where there is nothing to learn."""
        model = self.learn(sample.rows) if sample.rows.height >= self.min_rows else None
        if model is None:
            return {}
        return {start: model(rows) for start, rows in self.windows.items() if start >= sample.cut_off}


def cut_offs(oldest: datetime, newest: datetime, window: timedelta, history: timedelta | None) -> list[datetime]:
    """Return where windows begin that leave enough to learn from before them; the last window ends with the data.

    Of more than `MOST_CUT_OFFS` every second, third ... is kept.
    """
    end = datetime.combine(newest.date() + timedelta(days=1), time())
    first = oldest + (history or WARM_UP * (end - oldest))
    starts = [end - number * window for number in range(1, max(0, (end - first) // window) + 1)]
    if len(starts) < 2:
        raise MlopsError(
            f"the data cover {days_in(end - oldest):,.0f} days; after the {days_in(first - oldest):,.0f} of them that "
            f"the first model learns from, there are no two windows of {days_in(window):g} days",
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
    log: Log,
    engine: Mapper = engines.HERE,
) -> Iterator[Measurement]:
    """Train a model at each start, measure it on every window from there on, and yield them window by window.

    `sign` is 1 for a metric that is better when higher, -1 for the others. Windows and pasts with too few rows are
    left out, and so is what does not decide the metric.
    """
    windows = {start: rows for start in starts if (rows := past.between(start, start + window)).height >= past.min_rows}
    learned: dict[datetime, int] = {}

    def samples() -> Iterator[PastRows]:
        for number, cut_off in enumerate(windows, start=1):
            rows = past.between(cut_off - history if history else None, cut_off)
            rows = rows.sample(min(rows.height, MOST_ROWS), seed=SEED)
            learned[cut_off] = rows.height
            log(f"backtest: model {number} of {len(windows)}, on {rows.height:,} rows before {cut_off:%Y-%m-%d}")
            yield PastRows(cut_off, rows)

    values = dict(zip(windows, engine.map(Aged(windows, learn, past.min_rows), samples()), strict=True))
    for start, rows in windows.items():
        fresh = values[start].get(start)
        for cut_off, aged in values.items():
            value = aged.get(start)
            if value is not None and fresh is not None:
                yield Measurement(
                    cut_off=cut_off,
                    window=start,
                    age_days=days_in(start - cut_off),
                    learned_rows=learned[cut_off],
                    rows=rows.height,
                    value=value,
                    fresh=fresh,
                    worse_by=sign * (fresh - value) + 0.0,  # no minus before a zero
                )


def _rows(project: Project, time: str) -> pl.DataFrame:
    valid = project.root / "data" / "valid.parquet"
    if not valid.is_file():
        raise MlopsError("there are no validated rows in this checkout", "mlops pipeline (or `dvc pull`)")
    return pl.read_parquet(valid).drop_nulls(time).sort(time, maintain_order=True)


def _bounds(starts: list[datetime], window: timedelta, measured: list[Measurement]) -> Iterator[str]:
    """What was not looked at, and why."""
    if (apart := (starts[1] - starts[0]) // window) > 1:
        yield f"to save time, one window in {apart} is measured"
    if any(one.learned_rows == MOST_ROWS for one in measured):
        yield f"to save time, a model learns from at most {MOST_ROWS:,} rows, drawn at random"
    if missing := sorted(set(starts) - {one.window for one in measured}):
        yield f"left out, for too few rows: {', '.join(f'{start:%Y-%m-%d}' for start in missing)}"
