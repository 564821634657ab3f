"""Logged requests, replayed through training: the same features and scores, or the monitor says which differ."""

from __future__ import annotations

import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from flight_delays.features import features
from slipway import team
from slipway.contract.columns import Column, Columns
from slipway.contract.frames import as_rows, columns, spread
from slipway.contract.rows import FieldKind
from slipway.data.stages import run_stage
from slipway.log import predictions
from slipway.log.predictions import Prediction
from slipway.monitoring import skew
from slipway.monitoring.checks import CHECKS, CheckContext
from slipway.monitoring.drift import Verdict
from slipway.monitoring.judge import judge_log
from slipway.monitoring.report import Report, report_of, report_text
from slipway.monitoring.skew import SkewState
from slipway.pages.monitor_page import monitor_page
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.scoring import Scorer

ROWS = 60
FIELDS = [field.name for field in CONTRACT.fields]
TEXTS = [field.name for field in CONTRACT.fields if field.kind in (FieldKind.CATEGORY, FieldKind.TEXT)]


def logged(project: Project, bundle: Bundle, asked: int = 0) -> pl.DataFrame:
    """What a server logs that is asked row by row; it writes what it is asked `asked` rows later."""
    rows = as_rows(pl.read_parquet(project.root / "data" / "test.parquet").head(ROWS))
    scorer = Scorer(bundle)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    lines = [
        Prediction(
            id=f"id-{number}", at=at, environment="staging", version=1, digest=bundle.digest,
            row=rows[(number + asked) % ROWS], score=float(scorer.score_rows([row])[0]), answer=1.0,
        )
        for number, row in enumerate(rows)
    ]  # fmt: skip
    path = predictions.folder(project.state, "staging") / "2030-01-01.host.1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    return predictions.read(project, "staging")


def differing(found: skew.Skew) -> dict[str, int]:
    return {one.name: one.rows for one in found.differences}


def test_what_a_server_logs_gets_the_same_features_and_scores_in_training(project: Project, sealed: Bundle) -> None:
    found = skew.replay(sealed, logged(project, sealed))

    assert (found.state, found.rows, found.differences) == (SkewState.OK, ROWS, [])


def test_a_feature_that_depends_on_the_other_rows_is_named(
    project: Project, lineage: Lineage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model learned from it and its golden rows agree: only the replay of single rows can show it."""
    name = Bundle(project.bundle).model.features[0]

    def of_the_batch(rows: Columns) -> dict[str, Column]:
        made = features(rows)
        return made | {name: made[name] - np.nanmean(made[name])}

    monkeypatch.setitem(vars(team), "features", of_the_batch)
    for stage in ("train", "evaluate", "export"):
        run_stage(project, stage)
    bundle = seal(project.bundle, tmp_path / "faulty", lineage)

    found = skew.replay(bundle, logged(project, bundle))

    assert found.state is SkewState.SKEWED
    assert set(differing(found)) <= {name, "score"}
    assert found.sentence.startswith(f"{name} differs in {ROWS} of {ROWS} replayed rows: ")
    assert found.next_step.startswith("let features.py make each row's features from that row alone")


def test_a_score_that_the_model_does_not_give_is_named_with_an_example(project: Project, sealed: Bundle) -> None:
    log = logged(project, sealed)
    changed = log.with_columns(pl.col("score") + pl.when(pl.col("id").is_in(["id-7", "id-8"])).then(0.2).otherwise(0))

    found = skew.replay(sealed, changed)

    assert differing(found) == {"score": 2}
    assert "in the log for prediction id-7" in found.sentence
    assert found.next_step.startswith("find out what else answers there")


def test_a_server_that_logs_other_rows_than_it_scored_is_found(project: Project, sealed: Bundle) -> None:
    found = skew.replay(sealed, logged(project, sealed, asked=1))

    assert found.state is SkewState.SKEWED
    assert differing(found)["score"] > ROWS / 2


def test_a_logged_value_that_the_contract_refuses_is_named(project: Project, sealed: Bundle) -> None:
    field = next(field for field in CONTRACT.fields if field.bounds)
    (_, limit), *_ = field.bounds
    kind = pl.Int64 if field.kind is FieldKind.INTEGER else pl.Float64
    broken = pl.when(pl.col("id") == "id-7").then(limit - 1).otherwise(field.name).cast(kind)

    found = skew.replay(sealed, logged(project, sealed).with_columns(broken.alias(field.name)))

    assert differing(found) == {field.name: 1}
    assert "in prediction id-7" in found.sentence


@pytest.mark.parametrize("rows", [1, ROWS // 2 + 1, ROWS])
def test_rows_that_an_earlier_rule_has_hidden_are_not_replayed(project: Project, sealed: Bundle, rows: int) -> None:
    """A rule that is gone from the policy must not look like skew for as long as the log goes back."""
    name = next(field.name for field in CONTRACT.fields if not field.optional)
    log = logged(project, sealed)

    found = skew.replay(sealed, log.with_columns(pl.when(pl.int_range(pl.len()) >= rows).then(name).alias(name)))

    assert found.rows == ROWS - rows
    assert found.state is (SkewState.OK if rows < ROWS / 2 else SkewState.UNKNOWN)
    assert f"{rows} of {ROWS} rows left out, without {name} in {rows}" in found.sentence


def test_a_long_log_is_sampled_evenly_and_the_same_each_time() -> None:
    frame = pl.DataFrame({"at": range(12_345)})

    sample = spread(frame, skew.MOST_ROWS)

    assert sample.equals(spread(frame, skew.MOST_ROWS))
    assert sample.height == skew.MOST_ROWS
    assert set(sample["at"].diff().drop_nulls()) == {12, 13}
    assert (sample["at"][0], sample["at"][-1]) == (0, 12_344)


@pytest.mark.parametrize("name", TEXTS)
def test_rows_that_an_earlier_rule_has_hashed_are_not_replayed(project: Project, sealed: Bundle, name: str) -> None:
    log = logged(project, sealed)

    found = skew.replay(
        sealed, log.with_columns(pl.when(pl.col("id") != "id-7").then(name).otherwise(pl.lit("hmac:0")))
    )

    assert (found.state, found.rows) == (SkewState.OK, ROWS - 1)


def test_without_rows_of_the_champion_nothing_is_known(project: Project, sealed: Bundle) -> None:
    others = logged(project, sealed).with_columns(pl.lit("sha256:other").alias("digest"))

    found = skew.replay(sealed, others)

    assert (found.state, found.sentence) == (SkewState.UNKNOWN, "the champion has logged no rows")


@pytest.mark.parametrize("code", ["same", "other"])
def test_a_champion_of_other_code_is_not_judged_by_this_one(project: Project, sealed: Bundle, code: str) -> None:
    """Between a merge and a promotion that is so in every project."""
    text = team.source("features").read_text("utf-8") + "# changed\n" * (code == "other")
    with zipfile.ZipFile(sealed.path / "code.whl", "w") as wheel:
        wheel.writestr("flight_delays/features.py", text)

    found = skew.replay(sealed, logged(project, sealed))

    assert found.state is (SkewState.UNKNOWN if code == "other" else SkewState.OK)
    assert code == "same" or found.sentence == "features.py of this checkout is not that of the champion"


def test_a_champion_of_another_contract_is_not_judged_by_this_one(project: Project, sealed: Bundle) -> None:
    log = logged(project, sealed)
    shutil.copytree(sealed.path, project.root / "other")
    facts = project.root / "other" / "model.json"
    facts.write_text(facts.read_text("utf-8").replace(CONTRACT.fingerprint, "0" * 64), encoding="utf-8")

    found = skew.replay(Bundle(project.root / "other"), log)

    assert found.state is SkewState.UNKNOWN
    assert "the contract differs from the one this model was trained with" in found.sentence


@pytest.mark.parametrize("name", FIELDS)
def test_what_the_log_does_not_hold_hides_only_the_features_made_from_it(
    project: Project, sealed: Bundle, name: str
) -> None:
    rows = columns(pl.read_parquet(project.root / "data" / "test.parquet").head(2), CONTRACT.fields)
    try:
        features({other: rows[other] for other in FIELDS if other != name})
        expected = SkewState.OK
    except KeyError:
        expected = SkewState.UNKNOWN

    found = skew.replay(sealed, logged(project, sealed).with_columns(pl.lit("hmac:0").alias(name)), [name])

    assert found.state is expected
    reason = f"features.py needs {name}, which privacy.fields keeps"
    assert expected is SkewState.OK or found.sentence.startswith(reason)


def reported(project: Project, bundle: Bundle, log: pl.DataFrame, found: skew.Skew | None) -> Report:
    limits = project.policy.monitor
    context = CheckContext(
        environment="staging",
        bundle=bundle,
        log=log,
        limits=limits,
        judged=judge_log(bundle, log, limits),
        now=datetime(2030, 1, 2, tzinfo=UTC),
        skew=found,
    )
    return report_of(context, CHECKS.values())


def test_skew_is_worth_acting_on_in_text_page_and_json(project: Project, sealed: Bundle) -> None:
    log = logged(project, sealed).with_columns(pl.col("score") + 0.2)
    judged = reported(project, sealed, log, None)

    told = reported(project, sealed, log, skew.replay(sealed, log))

    assert (judged.verdict, told.verdict, told.exit_code) == (Verdict.INSUFFICIENT_DATA, Verdict.ACT, 3)
    assert f"skew skewed: score differs in {ROWS} of {ROWS} replayed rows" in report_text(told)
    assert f"Skew skewed: score differs in {ROWS} of {ROWS} replayed rows" in monitor_page(told)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Report) == told


def test_no_skew_changes_no_verdict(project: Project, sealed: Bundle) -> None:
    log = logged(project, sealed)
    judged = reported(project, sealed, log, None)

    told = reported(project, sealed, log, skew.replay(sealed, log))

    assert (told.verdict, told.summary) == (judged.verdict, judged.summary)
    assert "skew ok: 60 logged rows, replayed through training" in report_text(told)
