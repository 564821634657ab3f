"""One of several classes through the whole platform, in one process: from raw rows to what the monitor says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import flight_delays
import msgspec
import numpy as np
import polars as pl
import pytest
from catboost import CatBoostClassifier
from flight_delays import model as module
from flight_delays.contract import CONTRACT
from lightgbm import LGBMClassifier
from outside import Install
from page_tree import parsed
from rendering import Template
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.contract.frames import as_rows, columns
from slipway.data import labels
from slipway.data.labels import TRUTH
from slipway.data.stages import STAGES, run_stage
from slipway.experiment import trial
from slipway.kinds.multiclass import Multiclass, column
from slipway.log import predictions
from slipway.log.posted import LabelForm, LabelLog, PostedLabel
from slipway.log.predictions import Prediction, PredictionLog, Role
from slipway.monitoring import run, skew
from slipway.monitoring.concept import ConceptState
from slipway.monitoring.drift import Verdict, moved
from slipway.monitoring.judge import judge_log
from slipway.monitoring.quality import QualityState
from slipway.monitoring.report import Report, report_text
from slipway.monitoring.skew import SkewState
from slipway.pages.evaluation_page import evaluation_page
from slipway.pages.monitor_page import monitor_page
from slipway.registry.models import cache_folder
from slipway.serving import batch
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.environment import Challenger, Environment, Release, ServeAddress
from slipway.settings.params import DecisionParams
from slipway.settings.policy import CalibrationGate, QualityPolicy, ServingPolicy, SliceGate, WindowPolicy
from slipway.settings.project import Project
from slipway.testing import small_copy
from slipway.training import backtest, exam
from slipway.training.agreement import require_agreement
from slipway.training.bundle import Bundle, Lineage, ModelFacts, seal
from slipway.training.confusion import Confusion
from slipway.training.folds import Fold
from slipway.training.formats.onnx import OnnxModel
from slipway.training.gates import as_markdown, check_gates, checks_of
from slipway.training.rates import rates
from slipway.training.score_columns import scores_in
from slipway.training.scoring import Scorer
from slipway.training.team_code import target_of
from slipway.training.train import convert, learned_from, learning_set, train
from starlette.testclient import TestClient
from xgboost import XGBClassifier

CLASSES = ("on time", "late", "very late")
TEAM = Path(__file__).parents[1] / "teams" / "multiclass"
POLICY = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=10_000, return_score=True, explain=True)
NOW = datetime(2013, 9, 2, tzinfo=UTC)
RULES = """
labels: {source: data/labels, key: [id], delay_days: 1}
experiment: {metric: macro_f1, smallest_gain: 0.05, min_rows: 100, max_days: 60}
"""


@pytest.fixture(scope="module", autouse=True)
def the_team() -> Iterator[pytest.MonkeyPatch]:
    """Let the team predict classes: with the model and the metrics of the template's third problem.

    The contract and the features are those of all three.
    """
    spec = ModuleSpec("flights_by_class", None, is_package=True)
    spec.submodule_search_locations = [str(TEAM / flight_delays.__name__)]
    sys.modules[spec.name] = module_from_spec(spec)
    theirs = import_module("flights_by_class.model")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ANSWER", "CLASSES", "target", "build", "baseline"):
            patch.setattr(module, name, getattr(theirs, name), raising=False)
        patch.setitem(vars(team), "metrics", import_module("flights_by_class.metrics").metrics)
        yield patch


@pytest.fixture(scope="module")
def walked(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project with these answers, whose stages have all run. Tests must not change it."""
    root = template.render(tmp_path_factory.mktemp("classes") / "flight-delays", problem="multiclass")
    project = small_copy(root, tmp_path_factory.mktemp("walked"))
    for stage in STAGES:
        run_stage(project, stage)
    return project


@pytest.fixture
def sealed(walked: Project, lineage: Lineage, tmp_path: Path) -> Bundle:
    return seal(walked.bundle, tmp_path / "bundle", lineage)


@pytest.fixture
def log(tmp_path: Path, sealed: Bundle) -> Iterator[PredictionLog]:
    log = PredictionLog(Project(tmp_path).state, "test", 7, sealed.digest)
    yield log
    log.close()


def client_of(sealed: Bundle, policy: ServingPolicy = POLICY, log: PredictionLog | None = None) -> TestClient:
    served = Served("test", 7, sealed.digest, "0" * 40, "registry")
    return TestClient(create_app(ServingContext(Scorer(sealed), served, policy, log)))


def told(sealed: Bundle) -> list[dict[str, float]]:
    """What a client should be told of each golden row."""
    return [dict(zip(CLASSES, each, strict=True)) for each in sealed.golden.scores]  # type: ignore[arg-type]


def answer_of(probabilities: dict[str, float]) -> str:
    """By the thresholds in params.yaml: a third as likely as on time is enough."""
    return max(CLASSES, key=lambda name: probabilities[name] / {"on time": 1}.get(name, 0.33))


# ---------------------------------------------------------------------------- training and the bundle


def test_a_bundle_names_its_classes_and_holds_the_probability_of_each(sealed: Bundle) -> None:
    facts, tested = sealed.model, pl.read_parquet(sealed.tested)

    assert (facts.kind, facts.answer, facts.classes) == ("multiclass", "arrival", [*CLASSES])
    assert facts.threshold == [1, 0.33, 0.33]
    probabilities = tested["probabilities"].list.to_array(3).to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    weighed = probabilities / [1, 0.33, 0.33]
    assert tested["score"].to_numpy() == pytest.approx(probabilities[np.arange(len(weighed)), weighed.argmax(axis=1)])
    assert {*tested["truth"]} == {0, 1, 2}


def test_gates_judge_macro_averages_and_each_class_by_slice_too(walked: Project) -> None:
    gates = {check.gate for check in check_gates(walked)}

    assert {"macro_f1", "log_loss", "macro_roc_auc", "recall_very_late"} <= gates
    assert any(gate.startswith("macro_roc_auc of origin = ") for gate in gates)


def test_the_model_card_has_the_confusion_matrix_of_the_test_rows(walked: Project, sealed: Bundle) -> None:
    metrics, card = sealed.metrics, (sealed.path / "card.md").read_text("utf-8")
    found = msgspec.convert(metrics["confusion"], Confusion)
    tested = pl.read_parquet(walked.root / "data" / "test.parquet")

    late = tested.filter((pl.col("arr_delay") > 15) & (pl.col("arr_delay") <= 60)).height
    assert [sum(row) for row in found.counts][1] == late
    each = {one.name: one for one in found.figures()}
    assert each["late"].recall == pytest.approx(metrics["model"]["recall_late"], rel=1e-4)
    assert each["very late"].precision == pytest.approx(metrics["model"]["precision_very_late"], rel=1e-4)
    assert found.macro.recall == pytest.approx(metrics["model"]["macro_recall"], rel=1e-4)
    assert "| happened | answered on time | answered late | answered very late | recall | rows |" in card
    count, rows = found.counts[1][0], sum(found.counts[1])
    assert f"| late | {count:,} ({100 * count / rows:.1f} %) |" in card


def test_a_review_has_the_confusion_matrix(production: Project) -> None:
    review = as_markdown(production, check_gates(production), "HEAD")

    assert "| macro_f1 |" in review
    assert "| happened | answered on time | answered late | answered very late | recall | rows |" in review


def test_rates_are_the_shares_of_answers() -> None:
    kind = Multiclass(("on time", "late"))

    assert rates(kind, ["late", "on time", "late", "late"]) == {"share_of_on time": 0.25, "share_of_late": 0.75}


def test_groups_may_differ_so_much_in_how_often_a_class_is_answered(walked: Project) -> None:
    project = Project(walked.root)
    rule = SliceGate(columns=["origin"], metric="share_of_on time", min_rows=20, max_gap=0.9)
    project.policy.gates.slices = [rule]

    require_agreement(project, print)
    (gap,) = [
        check for check in check_gates(project) if check.gate.startswith("gap of share_of_on time between origin")
    ]

    assert gap.passed
    for metric in ("share_of_early", "mean_answer"):
        project.policy.gates.slices = [msgspec.structs.replace(rule, metric=metric)]
        with pytest.raises(MlopsError, match=f"this model has no {metric}"):
            require_agreement(project, print)


def test_the_page_of_an_evaluation_has_the_confusion_matrix_and_the_share_of_each_class(walked: Project) -> None:
    measured = msgspec.json.decode((walked.root / "reports" / "metrics.json").read_bytes())

    page = parsed(evaluation_page(walked, check_gates(walked)))

    (table,) = page.all("table", class_="confusion")
    assert [row.text.split(" (")[0] for row in table.all("tr")[1:4]] == [
        f"{name} {counts[0]:,}" for name, counts in zip(CLASSES, measured["confusion"]["counts"], strict=True)
    ]
    heads = [head.text for head in page.all("table", class_="figures")[1].all("tr")[0].all("th")]
    assert heads[-3:] == [f"share_of_{name}" for name in CLASSES]
    # The bands are those of the probability of the answer, and of whether it was right.
    right = sum(counts[place] for place, counts in enumerate(measured["confusion"]["counts"]))
    bands = measured["reliability"]["bands"]
    assert sum(band["rows"] * band["happened"] for band in bands) == pytest.approx(right, rel=1e-3)


def test_the_probability_of_each_class_has_a_curve_and_an_error_of_its_own(walked: Project) -> None:
    measured = msgspec.json.decode((walked.root / "reports" / "metrics.json").read_bytes())
    tested = pl.read_parquet(Bundle(walked.bundle).tested)

    page = parsed(evaluation_page(walked, []))

    assert measured["reliability_by_class"].keys() == {*CLASSES}
    assert [head.text.split(":")[0] for head in page.all("h3")] == [*CLASSES]
    for place, name in enumerate(CLASSES):
        found = measured["reliability_by_class"][name]
        scores, is_it = scores_in(tested)[:, place], tested["truth"].to_numpy() == place
        happened, expected = calibration_curve(is_it, scores, n_bins=10, strategy="quantile")
        # A score on the border of two bands is in the other one there.
        assert [band["happened"] for band in found["bands"]] == pytest.approx(happened, abs=0.02)
        assert [band["expected"] for band in found["bands"]] == pytest.approx(expected, rel=0.02)
        assert sum(band["rows"] * band["happened"] for band in found["bands"]) == pytest.approx(is_it.sum(), rel=1e-4)
        apart = [band["rows"] * abs(band["happened"] - band["expected"]) for band in found["bands"]]
        assert found["error"] == pytest.approx(sum(apart) / len(is_it), rel=1e-3)
        assert page.all("section", class_="of_class")[place].all("path", class_="dot")
        assert f"{name}: {found['error']:.4g} apart" in page.text


def test_the_gate_of_calibration_holds_for_the_worst_class(walked: Project) -> None:
    measured = msgspec.json.decode((walked.root / "reports" / "metrics.json").read_bytes())
    gates = walked.policy.gates
    errors = {name: one["error"] for name, one in measured["reliability_by_class"].items()}
    worst = max(errors, key=lambda name: errors[name])

    for most, passes in ((max(errors.values()) * 1.01, True), (max(errors.values()) * 0.99, False)):
        asked = msgspec.structs.replace(gates, calibration=CalibrationGate(max_error=most))
        (check,) = [one for one in checks_of(asked, measured, {}) if one.gate.startswith("calibration_error of ")]
        assert (check.gate, check.value, check.passed) == (f"calibration_error of {worst}", errors[worst], passes)
    del measured["reliability_by_class"]
    (check,) = [one for one in checks_of(asked, measured, {}) if one.gate.startswith("calibration_error of ")]
    assert (check.value, check.passed) == (None, False)


def test_a_class_that_no_training_row_has_is_named(walked: Project, tmp_path: Path) -> None:
    project = small(walked, tmp_path)
    rows = pl.read_parquet(project.root / "data" / "train.parquet")
    rows.filter(pl.col("arr_delay") <= 60).write_parquet(project.root / "data" / "train.parquet")

    with pytest.raises(MlopsError, match=r"nothing can be learned.* has no row of the class very late among"):
        train(project)


def test_a_target_beyond_the_classes_is_refused(the_team: pytest.MonkeyPatch) -> None:
    with the_team.context() as patch:
        patch.setattr(module, "target", lambda outcomes: outcomes["arr_delay"] // 60)

        with pytest.raises(MlopsError, match="gives for 1 of 3 rows no place in CLASSES, which are 0 to 2"):
            target_of({"arr_delay": np.array([0, 70, 200])})


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("CLASSES", ("late",), "it takes two or more names that differ"),
        ("CLASSES", ("late", "late"), "it takes two or more names that differ"),
        ("CLASSES", "late", "it takes two or more names that differ"),
        ("ANSWER", "probabilities", "probabilities are something else in every reply"),
    ],
)
def test_classes_that_cannot_be_are_refused(the_team: pytest.MonkeyPatch, name: str, value: object, why: str) -> None:
    with the_team.context() as patch:
        patch.setattr(module, name, value)

        with pytest.raises(MlopsError, match=why):
            team.classes()


@pytest.mark.parametrize(
    ("threshold", "why"),
    [({"early": 0.5}, "there is no class early"), ({"late": 0.0}, "late would always be the answer")],
)
def test_a_threshold_that_decides_nothing_is_refused(walked: Project, threshold: dict[str, float], why: str) -> None:
    project = Project(walked.root)
    project.params.decision = DecisionParams(threshold=threshold)

    with pytest.raises(MlopsError, match=why):
        require_agreement(project, print)


def test_without_thresholds_the_most_likely_class_is_the_answer() -> None:
    kind, scores = Multiclass(CLASSES), np.array([[0.5, 0.3, 0.2], [0.1, 0.4, 0.5]], np.float32)

    assert kind.answers(scores, kind.threshold(0.5)) == ["on time", "very late"]
    assert kind.answers(scores, kind.threshold({"late": 0.5})) == ["late", "late"]


def test_an_answer_of_another_kind_has_no_new_line_anywhere() -> None:
    """Bundles and logs of yes and no, and of quantities, are what they were."""
    facts = ModelFacts(name="m", answer="late", kind="class", threshold=0.3, features=[], contract="")
    said = Prediction("a", NOW, "test", 1, "", {}, 0.5, answer=True)

    assert "classes" not in msgspec.to_builtins(facts)
    assert [*msgspec.to_builtins(said)] == ["id", "at", "environment", "version", "digest", "row", "score", "answer"]


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=5),
        make_pipeline(SimpleImputer(), RandomForestClassifier(5, min_samples_leaf=20)),
        LGBMClassifier(n_estimators=5, verbose=-1),
        XGBClassifier(n_estimators=5),
        CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False),
        DummyClassifier(strategy="prior"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_conversion_keeps_the_probability_of_each_class(walked: Project, tmp_path: Path, estimator: Any) -> None:
    """`convert` holds all of them against those of the estimator."""
    _, rows, truth = learning_set(walked.root / "data" / "train.parquet")
    estimator.fit(rows[:800], truth[:800])
    kind = kinds.of(estimator, team.classes())

    convert(estimator, kind, rows[800:], tmp_path / "model.onnx")

    assert OnnxModel(tmp_path / "model.onnx", kind)(rows[800:]).shape == (len(rows) - 800, 3)


def test_a_kind_with_classes_comes_from_outside_in_one_file(
    walked: Project, lineage: Lineage, tmp_path: Path, install: Install
) -> None:
    source = """
from slipway.kinds.multiclass import Multiclass

class Loud(Multiclass):
    name = "loud"

    def with_classes(self, classes):
        return Loud(tuple(classes))

    def answers(self, scores, threshold):
        return [answer.upper() for answer in super().answers(scores, threshold)]
"""
    install(source, kinds.GROUP, "Loud")
    project = small(walked, tmp_path)
    for stage in ("train", "export"):
        run_stage(project, stage)

    scorer = Scorer(seal(project.bundle, tmp_path / "loud", lineage))

    rows = as_rows(pl.read_parquet(project.root / "data" / "test.parquet").head(3))
    assert scorer.facts.kind == "loud"
    assert {*scorer.answers(scorer.score_rows(rows))} <= {name.upper() for name in CLASSES}


# ---------------------------------------------------------------------------- serving, batches and the log


def test_every_protocol_gives_the_class_and_on_demand_each_probability(sealed: Bundle) -> None:
    rows, expected = sealed.golden.rows, told(sealed)
    with client_of(sealed) as client:
        own = client.post("/predict", json={"rows": rows}).json()["predictions"]
        one = client.post("/predict", json=rows[0]).json()
        frame = client.post("/invocations", json={"dataframe_records": rows}).json()
        tensors = [
            {"name": name, "datatype": datatype, "shape": [len(rows)], "data": [row[name] for row in rows]}
            for name, datatype in datatypes(client).items()
        ]
        infer = client.post("/v2/models/flight-delays/infer", json={"inputs": tensors}).json()["outputs"]
    outputs = {output["name"]: output for output in infer}

    answers = [answer_of(each) for each in expected]
    assert [row["arrival"] for row in own] == answers == frame["predictions"] == outputs["arrival"]["data"]
    assert outputs["arrival"]["datatype"] == "BYTES"
    assert one["arrival"] == answers[0]
    for number, each in enumerate(expected):
        assert own[number]["probabilities"] == pytest.approx(each, abs=1e-5) == frame["probabilities"][number]
        assert own[number]["score"] == pytest.approx(each[answers[number]], abs=1e-5)
        assert frame["scores"][number] == own[number]["score"] == outputs["score"]["data"][number]
        for name in CLASSES:
            assert outputs[column(name)]["data"][number] == pytest.approx(each[name], abs=1e-5)


def datatypes(client: TestClient) -> dict[str, str]:
    described = client.get("/v2/models/flight-delays").json()["inputs"]
    return {tensor["name"]: tensor["datatype"] for tensor in described}


def test_nobody_is_told_a_probability_unless_the_policy_says_so(sealed: Bundle) -> None:
    silent = msgspec.structs.replace(POLICY, return_score=False)
    with client_of(sealed, silent) as client:
        answer = client.post("/predict", json=sealed.golden.rows[0]).json()
        document = client.get("/openapi.json").json()

    assert {*answer} == {"id", "arrival", "model"}
    assert "probabilities" not in json.dumps(document)


def test_openapi_lists_the_classes_and_their_probabilities(sealed: Bundle) -> None:
    with client_of(sealed) as client:
        described = client.get("/openapi.json").json()["components"]["schemas"]["prediction"]["properties"]

    assert described["arrival"] == {"type": "string", "enum": [*CLASSES]}
    assert [*described["probabilities"]["properties"]] == [*CLASSES]


def test_the_log_keeps_class_and_probabilities_and_metrics_count_classes(
    sealed: Bundle, log: PredictionLog, tmp_path: Path
) -> None:
    rows, expected = sealed.golden.rows, told(sealed)
    with client_of(sealed, log=log) as client:
        for row in rows:
            client.post("/predict", json=row)
        exposition = client.get("/metrics").text
    log.flush()

    (file,) = predictions.folder(Project(tmp_path).state, "test").glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    read = predictions.read(Project(tmp_path), "test")
    answers = [answer_of(each) for each in expected]
    assert [line["answer"] for line in lines] == answers
    assert lines[0]["probabilities"] == pytest.approx([*expected[0].values()], abs=1e-5)
    assert read["answer"].to_list() == [CLASSES.index(answer) for answer in answers]
    assert read["probabilities"].list.len().to_list() == [3] * len(rows)
    for name in CLASSES:
        counted = f'mlops_class_predictions_total{{class="{name}",version="7"}} {answers.count(name)}.0'
        assert counted in exposition
    assert "positive_predictions" not in exposition


def test_a_line_with_a_class_and_no_probabilities_is_counted_as_none(
    sealed: Bundle, log: PredictionLog, tmp_path: Path
) -> None:
    with client_of(sealed, log=log) as client:
        for row in sealed.golden.rows[:2]:
            client.post("/predict", json=row)
    log.flush()
    (file,) = predictions.folder(Project(tmp_path).state, "test").glob("*.jsonl")
    first, second = (json.loads(line) for line in file.read_text("utf-8").splitlines())
    del first["probabilities"]
    file.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n", encoding="utf-8")

    read = predictions.read_counted(Project(tmp_path), "test")

    assert (read.frame["id"].to_list(), read.counts.torn) == ([second["id"]], 1)


def test_an_explanation_is_of_the_probability_of_the_answer(sealed: Bundle) -> None:
    rows, usual, field = sealed.golden.rows, sealed.golden.usual, CONTRACT.fields[1]
    assert usual is not None
    with client_of(sealed) as client:
        explained = client.post("/predict?explain=true", json={"rows": rows}).json()["predictions"]

    assert len({one["arrival"] for one in explained}) > 1
    changed = msgspec.convert([*rows, *(row | {field.name: usual[field.name]} for row in rows)], list[CONTRACT.row])  # type: ignore[name-defined]
    own, others = np.split(Scorer(sealed).score_rows(changed), 2)
    for number, one in enumerate(explained):
        place = CLASSES.index(one["arrival"])
        apart = float(own[number, place] - others[number, place])
        assert one["contributions"][field.name] == pytest.approx(apart, abs=1e-5)


@pytest.mark.parametrize("name", ["answers.csv", "answers.parquet"])
def test_a_batch_has_the_class_and_a_column_for_each_probability(
    walked: Project, sealed: Bundle, tmp_path: Path, name: str
) -> None:
    source, target = tmp_path / "rows.parquet", tmp_path / name
    pl.read_parquet(walked.root / "data" / "raw.parquet").head(50).write_parquet(source)

    batch.predict(Scorer(sealed), source, target, with_score=True, log=print)

    told = pl.read_parquet(target) if target.suffix == ".parquet" else pl.read_csv(target)
    assert told.columns == [*CONTRACT.key, "arrival", "score", *map(column, CLASSES), "model"]
    for row in told.iter_rows(named=True):
        assert row["arrival"] == answer_of({one: row[column(one)] for one in CLASSES})
        assert row["score"] == row[column(row["arrival"])]


def test_the_program_that_compares_versions_gives_what_metrics_measure(walked: Project, sealed: Bundle) -> None:
    """`mlops compare` starts it with the code of each version."""
    frame = pl.read_parquet(walked.root / "data" / "test.parquet")
    paths = [str(Path(team.__file__).parents[1]), str(TEAM)]
    done = subprocess.run(
        [sys.executable, "-m", "slipway.training.scoring", str(sealed.path)],
        input=msgspec.json.encode(as_rows(frame)), capture_output=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip

    scores = np.array(msgspec.json.decode(done.stdout), dtype=np.float32)

    truth = target_of(columns(frame, CONTRACT.outcome_fields))
    measured = team.metrics(truth, scores, sealed.model.threshold)
    assert measured == pytest.approx(sealed.metrics["model"], rel=1e-4)


# ---------------------------------------------------------------------------- labels, the monitor and trials


def macro_f1(truth: Any, scores: Any, threshold: Any) -> dict[str, float]:
    """The team's own of that name, without the others: a run measures it a thousand times."""
    counts = np.bincount(3 * truth + np.divide(scores, threshold).argmax(axis=1), minlength=9).reshape(3, 3)
    return {"macro_f1": float((2 * counts.diagonal() / np.maximum(1, counts.sum(axis=0) + counts.sum(axis=1))).mean())}


def small(walked: Project, tmp_path: Path) -> Project:
    """A copy of the walked project with fewer trees, to be changed at will."""
    shutil.copytree(walked.root, tmp_path / "project")
    project = Project(tmp_path / "project")
    project.params.model["n_estimators"] = 3
    return project


def answered(project: Project, bundle: Bundle, rows: pl.DataFrame, role: Role = "champion", version: int = 1) -> None:
    """Log what a version says to rows at the times of the rows, and deliver the labels of all of them."""
    scorer = Scorer(bundle)
    scores = scorer.scores(columns(rows, CONTRACT.fields))
    told, answers, each = scorer.told(scores).tolist(), scorer.answers(scores), scores.tolist()
    folder = predictions.folder(project.state, "production")
    folder.mkdir(parents=True, exist_ok=True)
    for number, (row, at) in enumerate(zip(as_rows(rows), rows["departs"], strict=True)):
        said = Prediction(
            id=f"{number}-0", at=at.replace(tzinfo=UTC), environment="production", version=version,
            digest=bundle.digest, row=row, score=told[number], answer=answers[number], role=role,
            probabilities=each[number],
        )  # fmt: skip
        with (folder / f"{at:%Y-%m-%d}.host.1.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(said) + b"\n")
    deliver(project, rows["arr_delay"])


def deliver(project: Project, delays: pl.Series) -> None:
    (project.root / "data" / "labels").mkdir(exist_ok=True)
    ids = [f"{number}-0" for number in range(len(delays))]
    pl.DataFrame({"id": ids, "arr_delay": delays}).write_csv(project.root / "data" / "labels" / "all.csv")


def commit(project: Project, message: str) -> None:
    """Commit the environment and the policy on the first of June, before anything is asked."""
    dated = os.environ | {"GIT_AUTHOR_DATE": "2013-06-01T00:00:00Z", "GIT_COMMITTER_DATE": "2013-06-01T00:00:00Z"}
    for command in (["init", "-q"], ["add", "deploy", "policy.yaml"], ["commit", "-qm", message]):
        subprocess.run(["git", *command], check=True, cwd=project.root, env=dated)


@pytest.fixture
def flights(walked: Project) -> pl.DataFrame:
    """Those of July and August, which the model has not learned from."""
    return pl.read_parquet(walked.root / "data" / "test.parquet")


@pytest.fixture
def production(walked: Project, sealed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose champion has been in production since June, with rules for labels, quality and trials."""
    monkeypatch.setitem(vars(team), "metrics", macro_f1)
    project = small(walked, tmp_path)
    with (project.root / "policy.yaml").open("a", encoding="utf-8") as file:
        file.write(RULES)
    project = Project(project.root)
    limits = project.policy.monitor
    limits.windows, limits.min_rows, limits.max_bias = WindowPolicy(days=28, last=2, need=2), 100, 0.05
    limits.quality = QualityPolicy(metric="macro_f1", drop=0.05, min_rows=60, action="propose")
    put(project, sealed, champion=Release(version=1, digest=sealed.digest, commit="0" * 40))
    return project


def put(project: Project, bundle: Bundle, **named: Any) -> None:
    """Name a version in the environment's file, and put its bundle where one that was fetched is."""
    path = project.environments / "production.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    serve = ServeAddress(host="localhost", port=1)
    held = msgspec.yaml.decode(path.read_bytes(), type=Environment) if path.is_file() else None
    held = held or Environment(alias="production", serve=serve, champion=None)
    path.write_bytes(msgspec.yaml.encode(msgspec.structs.replace(held, **named)))
    shutil.copytree(bundle.path, cache_folder(project, bundle.digest))
    commit(project, "Name a version")


def test_a_label_of_no_class_is_refused_and_counted(production: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    given = module.target
    monkeypatch.setattr(module, "target", lambda outcomes: np.where(outcomes["arr_delay"] < -50, -1, given(outcomes)))
    deliver(production, pl.Series([0, 20, -60, 70]))

    told = labels.read(production, labels.rule_of(production))

    assert told.counts.refused == 1
    (refused,) = told.remarks
    assert refused.startswith(
        "refused, and not counted: 1 label; arr_delay: target in model.py gives no place in CLASSES"
    )
    assert refused.endswith("in 1 row, first all.csv:3")
    assert told.frame[TRUTH].to_list() == [0, 1, 2]


def test_the_monitor_watches_classes_their_probabilities_and_what_came_of_them(
    production: Project, sealed: Bundle, flights: pl.DataFrame
) -> None:
    answered(production, sealed, flights)

    report = run.run(production, "production", sealed, until=NOW)

    tested = sealed.metrics["model"]["macro_f1"]
    assert {"arrival", *map(column, CLASSES)} <= {one.name for one in report.columns}
    assert not {one.name for one in moved(report.columns)} & {"arrival", *map(column, CLASSES)}
    assert report.quality is not None
    assert report.quality.value == pytest.approx(tested, abs=0.1)
    assert report.estimate is not None
    assert report.estimate.labelled is not None
    assert report.estimate.labelled.low < tested < report.estimate.labelled.high
    assert report.concept is not None
    assert report.concept.sentence.startswith("arrival was right for ")
    assert [one.label for one in report.concept.classes] == [*CLASSES]
    assert sum(one.now for one in report.concept.classes) == pytest.approx(1)
    assert report.skew is not None
    assert report.skew.sentence.endswith("get the features and the score that they got when they were asked")
    assert report.confusion
    assert report.confusion.counts == sealed.metrics["confusion"]["counts"]
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    page = monitor_page(report)
    assert "Which class was answered" in page
    assert "the score here is the probability of the answer" in page
    assert "answered very late" in report_text(report)


def test_the_monitor_sees_that_other_classes_are_answered(
    production: Project, sealed: Bundle, flights: pl.DataFrame
) -> None:
    """Without their time each row is a draw of its own: two months of test rows tell too little of how days differ."""
    evening = pl.col("departs").dt.combine(pl.time(20, 30))
    answered(production, sealed, flights.with_columns(departs=evening))
    log = predictions.read(production, "production")

    judged = judge_log(sealed, log, production.policy.monitor, hidden={"departs": "drop"})

    (answer,) = [one for one in judged.columns if one.name == "arrival"]
    assert answer.verdict is Verdict.ACT
    shares = {CLASSES[int(place)]: many / log.height for place, many in log["answer"].value_counts().iter_rows()}
    assert {one.label: one.now for one in answer.bins} == pytest.approx(shares)


def test_the_monitor_sees_that_answers_are_wrong_more_often(
    production: Project, sealed: Bundle, flights: pl.DataFrame
) -> None:
    answered(production, sealed, flights)
    deliver(production, pl.Series([200] * flights.height))

    report = run.run(production, "production", sealed, until=NOW)

    assert report.verdict is Verdict.ACT
    assert report.concept is not None
    assert report.concept.state is ConceptState.MOVED
    assert report.quality is not None
    assert report.quality.state is QualityState.BROKEN


def test_a_probability_that_the_model_does_not_give_is_named(
    production: Project, sealed: Bundle, flights: pl.DataFrame
) -> None:
    answered(production, sealed, flights.head(20))
    wrong = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit([0.5, 0.25, 0.25])).otherwise("probabilities")
    log = predictions.read(production, "production").with_columns(probabilities=wrong)

    found = skew.replay(sealed, log)

    assert found.state is SkewState.SKEWED
    assert found.sentence.startswith("score differs in 1 of 20 replayed rows: ")
    assert " in the log for prediction 3-0" in found.sentence


def test_a_version_of_other_classes_is_not_measured_by_these(
    production: Project, sealed: Bundle, flights: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(production, sealed, flights.head(5))
    monkeypatch.setattr(module, "CLASSES", ("late", "on time", "very late"))

    with pytest.raises(MlopsError) as refused:
        run.run(production, "production", sealed, until=NOW)

    assert refused.value.problem == (
        "the champion of production cannot be measured by what this checkout calls a class: it has the classes "
        "on time, late, very late, and model.py names late, on time, very late"
    )


@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_a_trial_compares_versions_by_the_teams_metric(
    production: Project, sealed: Bundle, lineage: Lineage, flights: pl.DataFrame, tmp_path: Path, mode: Any
) -> None:
    """The rival says the same of everything, and finds no flight late."""
    (rival := small(production, tmp_path / "other")).params.model["n_estimators"] = 1
    for stage in ("train", "export"):
        run_stage(rival, stage)
    other = seal(rival.bundle, tmp_path / "rival", lineage)
    put(production, other, challenger=Challenger(version=2, digest=other.digest, commit="0" * 40, mode=mode))
    half = flights.gather_every(2)
    answered(production, other, half, "shadow" if mode == "shadow" else "challenger", version=2)
    answered(production, sealed, half if mode == "shadow" else flights.gather_every(2, 1))

    found = trial.compare_live(production, "production", NOW)

    champion, challenger = found.arms
    assert (champion.labelled, challenger.labelled) == (half.height, half.height)
    assert champion.value is not None
    assert challenger.value is not None
    assert champion.value > challenger.value + 0.05
    assert found.gain == pytest.approx(challenger.value - champion.value)
    log = LabelLog(production.state, "production", LabelForm(key=["id"], needed=["arr_delay"]))
    for told in pl.read_csv(production.root / "data" / "labels" / "all.csv").iter_rows(named=True):
        log.write([PostedLabel(datetime.now(UTC), {"id": told["id"]}, {"arr_delay": told["arr_delay"]})])
    shutil.rmtree(production.root / "data" / "labels")
    assert trial.compare_live(production, "production", NOW) == found


def test_a_search_and_a_back_test_measure_classes(production: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(team), "metrics", macro_f1)
    params, rows = production.params, pl.read_parquet(production.root / "data" / "valid.parquet")
    params.model["n_estimators"] = 3
    first = Fold(np.arange(rows.height) < 3000, np.arange(rows.height) >= 3000)
    model = exam.FoldModel(production, "macro_f1", *learned_from(rows), [first], [])

    measure = backtest.TeamModel(params, "macro_f1")(rows.head(3000))

    assert measure is not None
    assert measure(rows.tail(1000)) == pytest.approx(model(exam.FoldOfTrial({}, 0, anew=False)))
    assert backtest.TeamModel(params, "macro_f1")(rows.filter(pl.col("arr_delay") < 60)) is None
