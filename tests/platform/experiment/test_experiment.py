"""What becomes known later: labels joined with predictions, verdicts on a challenger, the champion's quality."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from numpy.typing import NDArray
from slipway.base.errors import MlopsError
from slipway.contract.columns import Column
from slipway.data import labels
from slipway.data.labels import TRUTH
from slipway.experiment import samples, statistics
from slipway.experiment.statistics import Decision, Estimate, Sample, estimate
from slipway.monitoring import quality
from slipway.monitoring.quality import QualityState
from slipway.serving.latency import quantile
from slipway.settings.policy import ExperimentPolicy, LabelPolicy, QualityPolicy
from slipway.settings.project import Project

NOW = datetime(2030, 6, 30, tzinfo=UTC)
KEY = list(CONTRACT.key)
OUTCOME = [field.name for field in CONTRACT.outcome_fields]
BY_KEY = LabelPolicy(source="data/labels", key=KEY, delay_days=1)
RULE = ExperimentPolicy(metric="error", smallest_gain=0.1, min_rows=200, max_days=30, alpha=0.1)
FLOOR = QualityPolicy(metric="error", drop=0.1, min_rows=200, action="propose")


def observed(project: Project, rows: int = 100) -> pl.DataFrame:
    """Rows whose outcome is known, one for each key."""
    return pl.read_parquet(project.root / "data" / "valid.parquet").unique(KEY, maintain_order=True).head(rows)


def logged(rows: pl.DataFrame, days_ago: float = 10) -> pl.DataFrame:
    """The same rows as predictions: categories and times as the log holds them."""
    as_read = [pl.col(pl.Enum).cast(pl.String), pl.col(pl.Datetime).cast(pl.Datetime("us"))]
    about = [pl.lit(NOW - timedelta(days=days_ago)).alias("at"), pl.int_range(pl.len()).cast(pl.String).alias("id")]
    return rows.select(field.name for field in CONTRACT.fields).with_columns(as_read).with_columns(about)


def tell(project: Project, name: str, told: pl.DataFrame) -> None:
    """Put a file of labels where the policy says."""
    path = project.root / "data" / "labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    told.write_parquet(path) if path.suffix == ".parquet" else told.write_csv(path)


def joined(project: Project, log: pl.DataFrame, rule: LabelPolicy = BY_KEY) -> tuple[list[float | None], list[str]]:
    told = labels.read(project, rule)
    return labels.join(log, told, rule, NOW)[TRUTH].to_list(), told.remarks


@pytest.mark.parametrize("name", ["day.csv", "day.parquet"])
def test_a_label_finds_its_prediction_and_a_missing_one_is_unknown(project: Project, name: str) -> None:
    rows = observed(project)
    tell(project, name, rows.tail(60).select(*KEY, *OUTCOME))

    truth, remarks = joined(project, logged(rows))

    _, whole = joined(project, logged(rows))
    assert truth[:40] == [None] * 40
    assert None not in truth[40:]
    assert len(set(truth[40:])) > 1
    assert remarks == whole == []


def test_labels_are_joined_by_the_predictions_id_and_under_other_names(project: Project) -> None:
    rows, rule = observed(project), LabelPolicy(source="data/labels", key=["id"], columns={"prediction": "id"})
    by_key = rows.select(*KEY, *OUTCOME)
    tell(project, "day.csv", by_key)
    expected, _ = joined(project, logged(rows))
    tell(project, "day.csv", rows.select(OUTCOME).with_columns(prediction=pl.int_range(pl.len())).reverse())

    truth, _ = joined(project, logged(rows), rule)

    assert truth == expected


def test_a_prediction_younger_than_the_delay_has_no_truth_yet(project: Project) -> None:
    """The outcomes that are known first are not like the others, so they must not be counted early."""
    rows = observed(project)
    tell(project, "day.csv", rows.select(*KEY, *OUTCOME))

    young, _ = joined(project, logged(rows, days_ago=0.9))
    old, _ = joined(project, logged(rows, days_ago=1.1))

    assert set(young) == {None}
    assert None not in old


def test_what_is_told_twice_counts_once_and_what_is_contradicted_is_unknown(project: Project) -> None:
    rows = observed(project)
    told = rows.select(*KEY, *OUTCOME)
    tell(project, "1.csv", told)
    tell(project, "2.csv", told.head(2))
    tell(project, "3.csv", told.tail(1).with_columns(pl.col(OUTCOME[0]) + 1))

    truth, remarks = joined(project, logged(rows))

    assert [place for place, value in enumerate(truth) if value is None] == [99]
    assert remarks == [
        "told again, and counted once: 2 labels",
        "contradicting labels count as unknown, for 1 key: 1.csv:100",
    ]


def test_labels_that_cannot_be_right_are_refused(project: Project) -> None:
    told = observed(project).select(*KEY, *OUTCOME)
    tell(project, "day.csv", told.with_columns(pl.lit("soon").alias(OUTCOME[0])))

    with pytest.raises(MlopsError, match=f"the labels in data/labels break the contract:\n  {OUTCOME[0]}: must be"):
        labels.read(project, BY_KEY)
    with pytest.raises(MlopsError, match=r"labels\.key: nobody names no prediction"):
        labels.read(project, LabelPolicy(source="data/labels", key=["nobody"]))


@pytest.mark.parametrize("is_echo", [True, False])
def test_labels_that_are_all_what_was_answered_are_told(project: Project, is_echo: bool) -> None:
    rows = observed(project, 200)
    tell(project, "day.csv", rows.select(*KEY, *OUTCOME))
    project.policy.labels = BY_KEY
    truth, _ = joined(project, logged(rows))
    answers = pl.Series("answer", truth, pl.Float64)
    log = logged(rows).with_columns(answers if is_echo else answers.reverse())

    _, remarks = labels.attach(project, log, NOW)

    told = "mind: all 200 labels are exactly what was answered; are they a model's own answers?"
    assert remarks == ([told] if is_echo else [])


def test_before_the_first_label_everything_is_unknown(project: Project) -> None:
    truth, remarks = joined(project, logged(observed(project)))

    assert set(truth) == {None}
    assert remarks == ["there are no labels in data/labels yet"]


def mean_error(truth: Column, scores: Column) -> float:
    return float(np.mean(np.abs(truth - scores)))


def sample(errors: NDArray[np.float64], rows_a_block: int = 20) -> Sample:
    return Sample(np.zeros(len(errors)), errors, np.arange(len(errors)) // rows_a_block, mean_error)


def test_a_gain_that_matters_is_found_with_about_the_rows_that_were_foretold() -> None:
    rng = np.random.default_rng(12)
    needed = statistics.rows_needed(200, 1 / np.sqrt(200), RULE)  # rows with a spread of 1

    gains = rng.normal(RULE.smallest_gain, 1 / np.sqrt(needed), 4000)

    found = [statistics.settle(Estimate(gain, 1 / np.sqrt(needed)), needed, RULE).decision for gain in gains]
    assert np.mean([decision is Decision.PROMOTE for decision in found]) == pytest.approx(RULE.power, abs=0.03)


def test_the_standard_error_is_that_of_a_mean_and_knows_that_rows_of_one_block_are_alike() -> None:
    rng = np.random.default_rng(13)
    errors = rng.normal(5, 2, 4000)
    alike = np.repeat(rng.normal(5, 2, 100), 40)

    independent, clustered = estimate(sample(errors)), estimate(sample(alike, rows_a_block=40))

    assert independent is not None
    assert independent.value == pytest.approx(5, abs=0.1)
    assert independent.error == pytest.approx(2 / np.sqrt(4000), rel=0.2)
    assert clustered is not None
    assert clustered.error == pytest.approx(2 / np.sqrt(100), rel=0.25)


def test_rows_of_one_day_are_one_block_and_a_long_trial_has_no_more_blocks_than_pay() -> None:
    def blocks(hours: list[float]) -> list[int]:
        log = pl.DataFrame({"at": [NOW + timedelta(hours=one) for one in hours]})
        numbers: list[int] = log.select(samples.by_time(log, 24)).to_series().rank("dense").to_list()
        return numbers

    assert blocks([0, 1, 23.9, 24, 49]) == [1, 1, 1, 2, 3]
    assert max(blocks([24.0 * day for day in range(1000)])) == statistics.MOST_BLOCKS


@pytest.mark.parametrize(
    ("found", "rows", "days", "unfit", "decision", "reason"),
    [
        (Estimate(0.2, 0.01), 500, 1, "", Decision.PROMOTE, "the challenger is better"),
        (Estimate(-0.2, 0.01), 500, 1, "", Decision.STOP, "the challenger does harm"),
        (Estimate(0.01, 0.01), 500, 1, "", Decision.KEEP, "gains less than matters, 0.1"),
        (Estimate(0.06, 0.01), 500, 1, "", Decision.KEEP, "gains less than matters, 0.1"),
        (Estimate(0.1, 0.05), 500, 1, "", Decision.WAIT, "do not settle it, about 1,153 more will"),
        (Estimate(0.2, 0.01), 199, 1, "", Decision.WAIT, "at least 200 are needed"),
        (Estimate(0.2, 0.01), 500, 1, "few labels", Decision.WAIT, "few labels"),
        (Estimate(0.2, 0.01), 500, 31, "few labels", Decision.KEEP, "nothing was settled in 30 days"),
        (None, 500, 1, "", Decision.WAIT, "do not decide error"),
        (None, 0, 31, "", Decision.KEEP, "nothing was settled in 30 days"),
    ],
)
def test_a_verdict_follows_from_the_gain_the_rows_and_the_time(
    found: Estimate | None, rows: int, days: float, unfit: str, decision: Decision, reason: str
) -> None:
    verdict = statistics.settle(found, rows, RULE, days=days, unfit=unfit)

    assert verdict.decision is decision
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("found", "rows", "unfit", "state"),
    [
        (Estimate(0.65, 0.01), 500, "", QualityState.OK),
        (Estimate(0.55, 0.01), 500, "", QualityState.BROKEN),
        (Estimate(0.58, 0.05), 500, "", QualityState.UNKNOWN),
        (Estimate(0.55, 0.01), 199, "", QualityState.UNKNOWN),
        (Estimate(0.55, 0.01), 500, "few labels", QualityState.UNKNOWN),
        (None, 0, "", QualityState.UNKNOWN),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_only_a_certain_fall_below_the_limit_is_a_broken_champion(
    found: Estimate | None, rows: int, unfit: str, state: QualityState, sign: int
) -> None:
    if found and sign < 0:
        found = Estimate(-found.value, found.error)

    judged, _ = quality.assess(found, rows, FLOOR, 0.01, limit=sign * 0.6, sign=sign, unfit=unfit)

    assert judged is state


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        pytest.param([0, 0, 0], 0.5, None, id="nothing is known yet"),
        pytest.param([10, 10, 10], 0.5, 0.5, id="within the first bucket"),
        pytest.param([10, 30, 30], 0.5, 1.25, id="between two bounds"),
        pytest.param([10, 30, 100], 0.99, 2.0, id="beyond the last bound, of which only this is known"),
    ],
)
def test_a_quantile_lies_where_its_bucket_is(counts: list[float], part: float, expected: float | None) -> None:
    buckets = list(zip([1.0, 2.0, float("inf")], counts, strict=True))

    assert quantile(part, buckets) == expected
