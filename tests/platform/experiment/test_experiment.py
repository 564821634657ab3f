"""What becomes known later: labels joined with predictions, verdicts on a challenger, the champion's quality."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
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
from slipway.serving.latency import quantile
from slipway.settings.policy import ExperimentPolicy, LabelPolicy
from slipway.settings.project import Project

NOW = datetime(2030, 6, 30, tzinfo=UTC)
KEY = list(CONTRACT.key)
OUTCOME = [field.name for field in CONTRACT.outcome_fields]
BY_KEY = LabelPolicy(source="data/labels", key=KEY, delay_days=1)
RULE = ExperimentPolicy(metric="error", smallest_gain=0.1, min_rows=200, max_days=30, alpha=0.1)


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


def test_what_is_told_twice_counts_once_and_of_two_that_differ_the_later_counts(project: Project) -> None:
    rows = observed(project)
    told = rows.select(*KEY, *OUTCOME)
    first, _ = truth_of(project, rows, told)
    tell(project, "2.csv", told.head(2))
    tell(project, "3.csv", told.tail(1).with_columns(pl.lit(1900).cast(told.schema[OUTCOME[0]]).alias(OUTCOME[0])))

    truth, remarks = joined(project, logged(rows))

    assert truth[:99] == first[:99]
    assert first[99] != truth[99]
    assert remarks == [
        "told again, and counted once: 2 labels",
        "corrected, and the later one counts: 1 label, by 3.csv:1",
    ]


def truth_of(project: Project, rows: pl.DataFrame, told: pl.DataFrame) -> tuple[list[float | None], list[str]]:
    """What is known when these labels are all there are; the last one is a no."""
    last = told.with_columns(
        pl.when(pl.int_range(pl.len()) == pl.len() - 1).then(0).otherwise(OUTCOME[0]).alias(OUTCOME[0])
    )
    tell(project, "1.csv", last)
    return joined(project, logged(rows))


def test_a_column_that_says_when_a_label_was_written_outranks_the_names_of_files(project: Project) -> None:
    rows = observed(project, 3)
    told = rows.select(*KEY, *OUTCOME).with_columns(pl.lit(0).alias(OUTCOME[0]))
    late = told.with_columns(pl.lit(1900).alias(OUTCOME[0]))
    tell(project, "1.csv", late.with_columns(known=pl.Series(["2030-06-02", "2030-06-02T00:30:00+02:00", "soon"])))
    tell(project, "2.csv", told.with_columns(known=pl.lit("2030-06-01T23:00")))
    rule = msgspec.structs.replace(BY_KEY, time="known")

    truth, remarks = joined(project, logged(rows), rule)

    # The second was written at half past ten, by the clock of UTC.
    assert truth[0] != truth[1] == truth[2]
    assert remarks[0] == "refused, and not counted: 1 label; known: must be a time in 1 row, first 1.csv:3"


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        pytest.param(OUTCOME[0], "5000", f"{OUTCOME[0]}: must be <= 2000", id="beyond the contract"),
        pytest.param(OUTCOME[0], "soon", f"{OUTCOME[0]}: must be an integer", id="another type"),
        pytest.param("origin", "BOS", "origin: must be one of EWR, JFK, LGA", id="an unknown category"),
        pytest.param("departs", "2013-07-01T17:30:00Z", "departs: must be a time without a zone", id="a zone"),
        pytest.param("flight", None, "flight: a value is missing", id="no key"),
    ],
)
def test_a_label_that_cannot_be_right_is_refused_and_hides_no_other(
    project: Project, column: str, value: str | None, why: str
) -> None:
    rows = observed(project)
    told = rows.select(*KEY, *OUTCOME).with_columns(pl.col(column).cast(pl.String))
    tell(
        project,
        "day.csv",
        told.with_columns(pl.when(pl.int_range(pl.len()) == 7).then(pl.lit(value)).otherwise(column).alias(column)),
    )

    found = labels.read(project, BY_KEY)
    truth, remarks = joined(project, logged(rows))

    assert (found.counts.read, found.counts.refused, found.frame.height) == (100, 1, 99)
    assert [place for place, known in enumerate(truth) if known is None] == [7]
    assert len(remarks) == 1
    assert remarks[0].startswith(f"refused, and not counted: 1 label; {why}")
    assert "day.csv:8" in remarks[0]


def test_a_key_that_names_no_prediction_is_refused(project: Project) -> None:
    with pytest.raises(MlopsError, match=r"labels\.key: nobody names no prediction"):
        labels.read(project, LabelPolicy(source="data/labels", key=["nobody"]))


def test_json_lines_are_labels_and_a_file_that_holds_none_is_left_out_by_name(project: Project) -> None:
    rows = observed(project)
    told = rows.select(*KEY, *OUTCOME)
    tell(project, "1.csv", told.head(50))
    tell(project, "2.csv", told.tail(50).drop(KEY[0]))
    as_sent = told.tail(50).with_columns(
        pl.col(pl.Datetime).dt.to_string("iso:strict"), pl.col(pl.Enum).cast(pl.String)
    )
    lines = "\n".join(msgspec.json.encode(row).decode() for row in as_sent.to_dicts())
    folder = project.root / "data" / "labels"
    (folder / "3.jsonl").write_text(f"{lines}\n\n{{torn", encoding="utf-8")
    (folder / "4.xlsx").write_bytes(b"PK")

    truth, remarks = joined(project, logged(rows))
    counts = labels.read(project, BY_KEY).counts

    assert None not in truth
    assert (counts.files, counts.read, counts.refused, len(counts.left_out)) == (2, 101, 1, 2)
    assert f"2.csv has no column {KEY[0]}; it has" in remarks[0]
    assert "4.xlsx is neither" in remarks[1]
    assert remarks[2:] == ["refused, and not counted: 1 label; no JSON object in 1 line"]


@pytest.mark.parametrize("strangers", [0, 30, 100])
def test_labels_that_find_no_prediction_are_counted(project: Project, strangers: int) -> None:
    rows = observed(project)
    tell(project, "day.csv", rows.select(*KEY, *OUTCOME))
    project.policy.labels = BY_KEY
    log = logged(rows.tail(100 - strangers)).with_columns(answer=pl.lit(0.5))

    known = labels.KnownLabels.of(project)
    assert known is not None
    counts, of_a_part = (known.told(known.join(log, NOW), is_whole=is_whole) for is_whole in (True, False))

    assert (counts.unknown, of_a_part.unknown) == (strangers, None)
    first = "first day.csv:1, day.csv:2, day.csv:3"
    assert (
        counts.remarks
        == {
            0: [],
            30: [f"without a prediction in this log: 30 of 100 labels, {first}"],
            100: [f"mind: none of 100 labels finds a prediction, {first}; is labels.key right?"],
        }[strangers]
    )


@pytest.mark.parametrize("is_echo", [True, False])
def test_labels_that_are_all_what_was_answered_are_told(project: Project, is_echo: bool) -> None:
    rows = observed(project, 200)
    tell(project, "day.csv", rows.select(*KEY, *OUTCOME))
    project.policy.labels = BY_KEY
    truth, _ = joined(project, logged(rows))
    answers = pl.Series("answer", truth, pl.Float64)
    log = logged(rows).with_columns(answers if is_echo else answers.reverse())

    known = labels.KnownLabels.of(project)
    assert known is not None
    counts = known.told(known.join(log, NOW), is_whole=True)

    told = "mind: all 200 labels are exactly what was answered; are they a model's own answers?"
    assert counts.remarks == ([told] if is_echo else [])


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
        (
            Estimate(0.1, 0.05, 10),
            500,
            1,
            "",
            Decision.WAIT,
            "about 1,153 more will, if they come from some 24 more stretches of 24 hours",
        ),
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
