"""The stages on a part of the sample, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import msgspec
import onnx
import polars as pl
import pytest
import yaml
from flight_delays.contract import CONTRACT
from slipway.base.errors import MlopsError
from slipway.data.prepare import ingest, split_rows, stable_share, validate
from slipway.settings.base import read_settings
from slipway.settings.params import SplitParams
from slipway.settings.policy import Gates, Policy, SliceGate
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.gates import checks_of
from slipway.training.scoring import Scorer

RAW = "data/raw.parquet"


def change_raw(project: Project, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    raw = pl.read_parquet(project.root / RAW)
    change(raw).write_parquet(project.root / RAW)
    ingest(project)


def test_a_bad_batch_is_refused_whole_and_the_earlier_data_stays(project: Project) -> None:
    before = (project.root / "data" / "valid.parquet").read_bytes()
    name = next(field.name for field in CONTRACT.fields if not field.optional)
    first = pl.int_range(pl.len()) == 0
    change_raw(project, lambda raw: raw.with_columns(pl.when(~first).then(name)))

    with pytest.raises(MlopsError, match=rf"{name}: a value is missing in 1 row, first raw\.parquet:1"):
        validate(project)

    assert (project.root / "data" / "valid.parquet").read_bytes() == before


def test_a_row_told_twice_is_refused(project: Project) -> None:
    change_raw(project, lambda raw: pl.concat([raw, raw.tail(1)]))

    with pytest.raises(MlopsError, match="the key is not unique in 1 row"):
        validate(project)


@pytest.mark.skipif(CONTRACT.max_age_days is None, reason="the contract sets no age")
def test_data_older_than_the_contract_allows_is_refused(project: Project) -> None:
    as_of = project.params.data.as_of
    project.params.data.as_of = as_of.replace(year=as_of.year + 1)

    with pytest.raises(MlopsError, match=f"more than {CONTRACT.max_age_days} days older"):
        validate(project)


def test_no_training_row_is_a_test_row(finished: Project) -> None:
    train, test = (pl.read_parquet(finished.root / "data" / f"{name}.parquet") for name in ("train", "test"))

    assert train.join(test, on=CONTRACT.key).is_empty()


@pytest.mark.skipif(CONTRACT.time is None, reason="the contract names no time")
def test_a_split_by_time_learns_from_the_past_only(finished: Project) -> None:
    frame = pl.read_parquet(finished.root / "data" / "valid.parquet").sort(str(CONTRACT.time))
    middle, last = (frame[str(CONTRACT.time)].dt.date()[frame.height * part // 4] for part in (2, 3))

    train, test = split_rows(frame, SplitParams(by="time", train_until=middle, test_until=last))

    times = [part[str(CONTRACT.time)].dt.date() for part in (train, test)]
    assert times[0].is_between(times[0].min(), middle, closed="left").all()
    assert times[1].is_between(middle, last, closed="left").all()


def test_a_row_keeps_its_side_of_a_digest_split_when_rows_are_added(finished: Project) -> None:
    frame = pl.read_parquet(finished.root / "data" / "valid.parquet")
    how = msgspec.structs.replace(finished.params.split, by="digest")

    _, test_of_half = split_rows(frame.head(frame.height // 2), how)
    _, test_of_all = split_rows(frame, how)

    assert test_of_half.join(test_of_all, on=CONTRACT.key, how="anti").is_empty()
    assert test_of_all.height / frame.height == pytest.approx(how.test_share, abs=0.05)


def test_the_digest_of_a_key_is_the_same_everywhere() -> None:
    """Python's own `hash` of a text differs from process to process."""
    assert stable_share(("a", 1)) == pytest.approx(0.5141306902, abs=1e-9)


def test_a_gate_is_failed_by_a_figure_below_its_limit(finished: Project) -> None:
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())
    cost = {"model_megabytes": 0.1, "one_row_ms": 0.1}
    gates = finished.policy.gates
    healthy = {check.gate: check.passed for check in checks_of(gates, measured, cost)}

    for name, gate in gates.metrics.items():
        worse = dict(measured["model"], **{name: 0.0 if gate.max is None else 1e9})
        judged = {check.gate: check.passed for check in checks_of(gates, measured | {"model": worse}, cost)}
        assert judged == healthy | {name: False}


def test_a_model_that_is_its_baseline_is_refused(finished: Project) -> None:
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())
    same = measured | {"model": measured["baseline"]}

    failed = [str(check) for check in checks_of(finished.policy.gates, same, {}) if not check.passed]

    assert any("the baseline's" in complaint for complaint in failed)


def sliced(project: Project) -> tuple[Gates, SliceGate]:
    """The project's gates, with a slice that every data set could have."""
    gates = project.policy.gates
    rule = msgspec.structs.replace(gates.slice_rules[0], columns=["any"])
    return msgspec.structs.replace(gates, slices=[rule]), rule


def test_a_weak_slice_is_refused_however_good_the_whole_is(finished: Project) -> None:
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())
    gates, rule = sliced(finished)
    bad = {rule.metric: 0.0 if rule.max is None else 1e9}
    weak = {"column": "any", "value": "weak", "rows": rule.min_rows, "metrics": bad}

    checks = checks_of(gates, measured | {"slices": [weak]}, {})

    assert [check.passed for check in checks if "= weak" in check.gate] == [False]


def test_every_rule_for_slices_is_asked_and_each_for_its_own_columns(finished: Project) -> None:
    gates, rule = sliced(finished)
    strict = msgspec.structs.replace(rule, columns=["other"], metric="cost", min=None, max=2.0, min_rows=1)
    both = msgspec.structs.replace(gates, slices=[rule, strict])
    groups = [{"column": name, "value": "x", "rows": 5, "metrics": {"cost": 3.0}} for name in ("any", "other")]
    measured = {"model": {}, "baseline": {}, "slices": groups}

    asked = [check for check in checks_of(both, measured, {}) if "= x" in check.gate]

    assert [(check.gate, check.limit, check.passed) for check in asked] == [
        ("cost of other = x (5 rows)", "at most 2", False)
    ]
    assert both.groups == {"any": rule.min_rows, "other": 1}


def test_a_single_rule_for_slices_is_read_as_a_list_of_one(project: Project) -> None:
    """A policy is the team's: what was written for an earlier platform stays as it is."""
    path = project.root / "policy.yaml"
    policy = yaml.safe_load(path.read_text("utf-8"))
    rule = project.policy.gates.slice_rules[0]
    policy["gates"]["slices"] = msgspec.to_builtins(rule)
    path.write_text(yaml.safe_dump(policy), encoding="utf-8")

    assert read_settings(path, Policy).gates.slice_rules == [rule]


def test_a_slice_too_small_to_judge_is_left_alone(finished: Project) -> None:
    measured = msgspec.json.decode((finished.root / "reports" / "metrics.json").read_bytes())
    gates, rule = sliced(finished)
    few = {"column": "any", "value": "few", "rows": rule.min_rows - 1, "metrics": {}}

    checks = checks_of(gates, measured | {"slices": [few]}, {})

    assert not [check for check in checks if "= few" in check.gate]


def test_the_model_file_is_the_same_in_every_process(finished: Project) -> None:
    # The converter takes this list from a set, whose order changes with Python's hash seed.
    domains = [opset.domain for opset in onnx.load(str(finished.bundle / "model.onnx")).opset_import]

    assert domains == sorted(domains)


def test_a_bundle_says_in_a_few_numbers_what_its_reference_is_like(finished: Project) -> None:
    bundle = Bundle(finished.bundle)
    reference, tested = pl.read_parquet(bundle.reference), pl.read_parquet(bundle.tested)

    expected = bundle.expected

    below = [sum(score <= bound for score in tested["score"]) for bound in expected.scores.bounds]
    assert [*accumulate(expected.scores.counts)] == [*below, tested.height]
    assert sum(count > 0 for count in expected.scores.counts) >= 5
    assert expected.scores.total == pytest.approx(tested["score"].cast(pl.Float64).sum(), rel=1e-4)
    optional = [field.name for field in CONTRACT.fields if field.optional]
    lacking = {name: reference[name].null_count() / reference.height for name in optional}
    assert expected.missing == pytest.approx(lacking, abs=1e-4)


def test_a_bundle_with_one_flipped_byte_is_refused(sealed: Bundle) -> None:
    sealed.verify(sealed.digest)
    content = bytearray(sealed.model_file.read_bytes())
    content[len(content) // 2] ^= 1
    sealed.model_file.write_bytes(content)

    with pytest.raises(MlopsError, match=r"model\.onnx was changed after the bundle was sealed"):
        sealed.verify(sealed.digest)


def test_a_bundle_with_another_digest_than_promised_is_refused(sealed: Bundle) -> None:
    with pytest.raises(MlopsError, match="promised was sha256:0"):
        sealed.verify("sha256:" + "0" * 64)


def test_a_model_whose_golden_rows_score_differently_is_not_served(
    finished: Project, lineage: Lineage, tmp_path: Path
) -> None:
    """Features, libraries and model must still agree with the moment of export."""
    bundle = seal(finished.bundle, tmp_path / "other", lineage)
    golden = bundle.golden
    (bundle.path / "golden.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(golden, scores=[0.0 for _ in golden.scores]))
    )

    with pytest.raises(MlopsError, match="cannot serve bundle"):
        Scorer(Bundle(bundle.path))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (r"act: .*", "act: 0.00001", r"monitor.watch is [\d.]+, it must be below monitor.act, which is 1e-05"),
        (r"min_rows: .*", "min_rows: many", r"Expected `int`, got `str`"),
        (r"return_score:", "return_scores:", r"unknown field `return_scores`"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(project: Project, old: str, new: str, complaint: str) -> None:
    path = project.root / "policy.yaml"
    path.write_text(re.sub(old, new, path.read_text("utf-8")), encoding="utf-8")

    with pytest.raises(MlopsError, match=complaint) as refused:
        read_settings(path, Policy)

    assert "policy.yaml" in refused.value.problem
