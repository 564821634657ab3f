"""How a model ages, on rows whose past is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.pages.backtest_page import write_backtest_page
from slipway.settings.policy import LabelPolicy, QualityPolicy
from slipway.settings.project import Project
from slipway.training import backtest
from slipway.training.ageing import Backtest, backtest_text, conclude
from slipway.training.backtest import Learn, Measure, Past

JANUARY = datetime(2013, 1, 1)
WEEK = timedelta(days=7)
timed = pytest.mark.skipif(CONTRACT.time is None, reason="rows without a time have no age")


def weeks(*levels: float) -> pl.DataFrame:
    """A hundred rows a day, each week around a level of its own."""
    noise = np.random.default_rng(3).normal(0, 0.1, 700 * len(levels))
    at = [JANUARY + timedelta(days=row // 100) for row in range(len(noise))]
    return pl.DataFrame({"at": at, "truth": np.repeat(levels, 700) + noise})


def newest_week(measured: str) -> Learn:
    """A model that answers the mean of what it learned from: a number by its error, a class by its hits."""

    def learn(rows: pl.DataFrame) -> Measure:
        says = float(rows["truth"].to_numpy().mean())

        def error(rows: pl.DataFrame) -> float:
            return float(np.abs(rows["truth"].to_numpy() - says).mean())

        def hits(rows: pl.DataFrame) -> float:
            return float(((rows["truth"].to_numpy() > 0.5) == (says > 0.5)).mean())

        return {"error": error, "hits": hits}[measured]

    return learn


def aged(frame: pl.DataFrame, measured: str, drop: float, min_rows: int = 100) -> Backtest:
    """Models that learn from one week, measured on all the later ones."""
    past = Past(frame, "at", min_rows)
    starts = backtest.cut_offs(frame[0, "at"], frame[-1, "at"], WEEK, WEEK)
    sign = {"error": -1, "hits": 1}[measured]
    found = [*backtest.measure(past, starts, WEEK, WEEK, newest_week(measured), sign=sign, log=print)]
    return conclude(found, "parcels", measured, drop, WEEK, WEEK)


def test_a_number_that_moves_a_little_each_week_is_found_at_the_age_where_it_has_moved_too_far() -> None:
    """Half a unit a week: a fresh model, a week behind, is off by half a unit, and an older one by as much a week."""
    drifting = aged(weeks(*np.arange(11) / 2), "error", drop=0.9)

    assert [age.days for age in drifting.ages] == [7.0 * age for age in range(10)]
    assert [round(age.worse_by, 1) for age in drifting.ages[:4]] == [0, 0.5, 1.0, 1.5]
    assert [age.cut_offs for age in drifting.ages] == [*range(10, 0, -1)]
    assert drifting.drops_at_days == drifting.max_age_days == 14
    assert drifting.sentence.startswith("from an age of 14 days on a model is worse by 0.9 in error: +0.9988, b")
    assert drifting.next_step.startswith(
        "set max_age_days: 14 below monitor in policy.yaml (mlops policy add monitor.a"
    )


def test_a_concept_that_flips_on_a_known_day_is_found_at_the_age_that_enough_models_have_lived_to() -> None:
    """It flips after five of eleven weeks: of six models aged 4 weeks, four learned before it and are asked after.

    Of those aged 3 weeks it is three of seven, and as far as anybody can know that is chance.
    """
    flipped = aged(weeks(*[0.0] * 5, *[1.0] * 6), "hits", drop=0.3)

    shares = {age.days / 7: age.worse_by for age in flipped.ages[1:6]}
    assert shares == pytest.approx({1: 1 / 9, 2: 2 / 8, 3: 3 / 7, 4: 4 / 6, 5: 1})
    assert flipped.drops_at_days == 28


@pytest.mark.parametrize("measured", ["error", "hits"])
def test_a_stable_concept_has_no_age_and_the_limit_is_where_the_data_end(measured: str) -> None:
    stable = aged(weeks(*[0.0] * 11), measured, drop=0.05)

    assert stable.drops_at_days is None
    assert stable.sentence.startswith("up to an age of 49 days no model was shown to be worse than a fresh one by 0.05")
    assert stable.max_age_days == 56
    assert "beyond that the data do not exclude the drop" in stable.next_step


def test_a_hard_season_is_not_mistaken_for_age() -> None:
    """In the last weeks no model is good, the fresh one neither: what they share is not age."""
    frame = weeks(*[0.0] * 11)
    winter = pl.when(pl.col("at") >= JANUARY + 6 * WEEK).then(20).otherwise(1)

    hard = aged(frame.with_columns(pl.col("truth") * winter), "error", drop=0.3)

    assert max(age.value for age in hard.ages) > 1.5
    assert hard.drops_at_days is None
    assert "error of fresh models is between 0.0" in hard.remarks[-1]


def test_few_cut_offs_are_shown_and_decide_nothing() -> None:
    """A flip in the last week of four: two models have met it, which says nothing of how models differ."""
    late = aged(weeks(0.0, 0.0, 0.0, 1.0), "hits", drop=0.3)

    assert [(age.cut_offs, age.low) for age in late.ages[1:]] == [(2, None), (1, None)]
    assert late.drops_at_days is None
    assert late.sentence == "no age has 3 cut-offs, so nothing is known of how models age"
    assert late.next_step.startswith("decide nothing yet")


def test_a_window_with_too_few_rows_is_left_out() -> None:
    frame = weeks(*[0.0] * 6)
    empty = pl.col("at").is_between(JANUARY + 3 * WEEK, JANUARY + 4 * WEEK, closed="left")

    thin = aged(frame.filter(~empty), "error", drop=0.3)

    assert JANUARY + 3 * WEEK not in {one.window for one in thin.measured}
    # Nothing was there to learn from for the model of the week after.
    assert {one.cut_off for one in thin.measured} == {JANUARY + number * WEEK for number in (1, 2, 5)}


def test_a_long_past_is_thinned_to_a_few_cut_offs_that_end_with_the_data() -> None:
    starts = backtest.cut_offs(JANUARY, JANUARY + timedelta(days=364), timedelta(days=1), None)

    assert len(starts) <= backtest.MOST_CUT_OFFS
    assert starts[-1] == JANUARY + timedelta(days=364)
    assert {later - earlier for earlier, later in pairwise(starts)} == {timedelta(days=21)}


def test_a_past_without_two_windows_is_refused() -> None:
    with pytest.raises(MlopsError, match="there are no two windows of 30 days") as refused:
        backtest.cut_offs(JANUARY, JANUARY + timedelta(days=60), timedelta(days=30), None)

    assert refused.value.next_step == "choose a shorter --window or --history"


def ask_for(project: Project, drop: float | None, limit: float | None = None) -> None:
    """Let the policy watch the first metric of its gates, whatever it watches now."""
    rules = project.policy
    rules.monitor.min_rows = 20
    rules.monitor.quality = QualityPolicy(
        metric=next(iter(rules.gates.metrics)), min_rows=1, action="propose", drop=drop, limit=limit
    )


@timed
def test_the_project_s_own_model_is_measured_and_shown(project: Project) -> None:
    ask_for(project, drop=0.03)
    times = pl.read_parquet(project.root / "data" / "valid.parquet")[str(CONTRACT.time)].to_numpy()
    said: list[str] = []

    result = backtest.run(project, (times.max() - times.min()).astype("m8[s]").item() / 6, None, said.append)

    lines = backtest_text(result).splitlines()
    html = write_backtest_page(result, project.root).read_text("utf-8")
    assert [age.worse_by for age in result.ages if not age.days] == [0]
    assert len(said) == len({one.cut_off for one in result.measured})
    assert lines[-2:] == [result.sentence, f"next: {result.next_step}"]
    assert html.count("<svg") == 2
    assert "<script" not in html
    assert msgspec.json.decode(msgspec.json.encode(result), type=Backtest) == result
    assert write_backtest_page(result, project.root) == project.root / result.page


def test_without_a_time_it_is_said_that_age_means_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    timeless = type(CONTRACT)(row=CONTRACT.row, outcome=CONTRACT.outcome, key=CONTRACT.key)
    monkeypatch.setattr(backtest, "CONTRACT", timeless)

    with pytest.raises(MlopsError, match="the contract names no time, so rows have no order and the age of a model"):
        backtest.run(project, WEEK, None, print)


@timed
def test_without_a_drop_it_is_said_what_is_missing(project: Project) -> None:
    ask_for(project, drop=None, limit=1)

    with pytest.raises(MlopsError, match=r"policy.yaml does not say how much worse a model may become") as refused:
        backtest.run(project, WEEK, None, print)

    assert refused.value.next_step == "set monitor.quality.drop instead of its limit"


@timed
@pytest.mark.parametrize("labels", [None, LabelPolicy(source="data/labels", key=["id"])])
def test_without_a_rule_for_quality_it_is_said_which_blocks_bring_it(
    project: Project, labels: LabelPolicy | None
) -> None:
    project.policy.labels, project.policy.monitor.quality = labels, None

    with pytest.raises(MlopsError, match="does not say how much worse") as refused:
        backtest.run(project, WEEK, None, print)

    assert refused.value.next_step == f"mlops policy add {'' if labels else 'labels '}monitor.quality"


def test_a_model_from_before_a_known_day_is_found_to_be_too_old(project: Project) -> None:
    """From July on late flights are early and early ones late: whoever has learned a month of that knows better."""
    valid = project.root / "data" / "valid.parquet"
    flips = pl.when(pl.col("departs") >= datetime(2013, 7, 1)).then(-1).otherwise(1)
    hour = pl.col("departs").dt.hour()
    pl.read_parquet(valid).with_columns(arr_delay=(hour - 13) * 20 * flips).write_parquet(valid)
    metric, drop = ("brier", 0.03) if "brier" in project.policy.gates.metrics else ("mae", 5.0)
    project.policy.monitor.quality = QualityPolicy(metric=metric, min_rows=500, action="propose", drop=drop)

    result = backtest.run(project, timedelta(days=30), timedelta(days=30), print)

    june, august, december = datetime(2013, 6, 5), datetime(2013, 8, 4), datetime(2013, 12, 2)
    cost = {(one.cut_off, one.window): one.worse_by / result.drop for one in result.measured}
    assert abs(cost[datetime(2013, 3, 7), june]) < 1
    assert min(cost[june, august], cost[june, december]) > 3
    assert abs(cost[august, december]) < 1
    assert result.drops_at_days is not None
