"""A kind of answer and an exporter that come from outside, as a distribution that is installed beside this one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from flight_delays import model as team
from outside import Install
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree import DecisionTreeRegressor
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.contract.frames import as_rows
from slipway.data.stages import run_stage
from slipway.serving.protocols.base import ServedModel
from slipway.serving.protocols.inference import Inference
from slipway.settings.params import DecisionParams
from slipway.settings.project import Project
from slipway.training.bundle import Lineage, seal
from slipway.training.scoring import Scorer
from slipway.training.train import convert, learning_set

#: A kind for trees: the answer is a whole number of hundredths.
WHOLE = """
from sklearn.tree import DecisionTreeRegressor
from slipway.kinds.number import Number

class Whole(Number):
    name, output = "whole", "hundredths"
    datatype, json_type = "INT64", {"type": "integer"}

    def handles(self, estimator):
        return isinstance(estimator[-1], DecisionTreeRegressor)

    def answers(self, scores, threshold):
        return [round(100 * score) for score in scores.tolist()]

    def histogram_bounds(self, scores):
        return [0.25, 0.75]

    def shown(self, mean):
        return f"{100 * mean:.0f} hundredths"
"""

#: A model that no library knows: it always says the mean.
MEAN = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper

class Mean:
    def fit(self, rows, truth):
        self.value = np.float32(np.mean(truth))
        return self

    def predict(self, rows):
        return np.full(len(rows), self.value)

class Exporter:
    output = None

    def handles(self, estimator):
        return isinstance(estimator, Mean)

    def export(self, estimator, kind, sample):
        output = self.output or kind.output
        constants = {"one": np.array([1]), "value": np.array([[estimator.value]], np.float32)}
        nodes = [
            helper.make_node("Shape", ["rows"], ["many"], start=0, end=1),
            helper.make_node("Concat", ["many", "one"], ["shape"], axis=0),
            helper.make_node("Expand", ["value", "shape"], [output]),
        ]
        graph = helper.make_graph(
            nodes, "mean",
            [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, sample.shape[1]])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 1])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", 18)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
"""


def tree(depth: int, seed: int) -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), DecisionTreeRegressor(max_depth=depth, random_state=seed))


def of_one_score(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the classes that the team may have named, and their thresholds."""
    monkeypatch.setattr(team, "CLASSES", (), raising=False)
    project.params.decision = DecisionParams()


def remade(project: Project, lineage: Lineage, tmp_path: Path) -> Scorer:
    """Train, evaluate, export and seal; the scorer proves the golden rows."""
    for stage in ("train", "evaluate", "export"):
        run_stage(project, stage)
    return Scorer(seal(project.bundle, tmp_path / "remade", lineage))


def test_a_kind_from_outside_is_trained_exported_scored_and_shown(
    project: Project, lineage: Lineage, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(WHOLE, kinds.GROUP, "Whole")
    of_one_score(project, monkeypatch)
    monkeypatch.setattr(team, "build", lambda seed, **_: tree(3, seed))
    monkeypatch.setattr(team, "baseline", lambda _, seed: tree(1, seed))

    scorer = remade(project, lineage, tmp_path)

    assert scorer.facts.kind == "whole"
    rows = as_rows(pl.read_parquet(project.root / "data" / "test.parquet").head(20))
    scores = scorer.score_rows(rows)
    assert scorer.answers(scores) == [round(100 * score) for score in scores.tolist()]
    assert scorer.bundle.expected.scores.bounds == [0.25, 0.75]
    served = ServedModel("model", 1, "", scorer.facts.answer, "whole", with_score=False, max_rows=8, examples=[])
    outputs = Inference(served).pages(lambda: True)["/v2/models/{name}"]("model")[1]["outputs"]
    assert outputs[0] == {"name": scorer.facts.answer, "datatype": "INT64", "shape": [-1]}
    assert kinds.named("whole").shown(0.5) == "50 hundredths"


def test_a_kind_that_nobody_brings_is_refused_by_its_name() -> None:
    with pytest.raises(MlopsError, match="answers of the kind 'whole', which nobody here brings"):
        kinds.named("whole")


def test_an_exporter_from_outside_trains_a_model_that_no_library_knows(
    project: Project, lineage: Lineage, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = install(MEAN, "slipway.exporter", "Exporter")
    of_one_score(project, monkeypatch)
    monkeypatch.setattr(team, "build", lambda *_, **__: outside.Mean())
    monkeypatch.setattr(team, "baseline", lambda *_: outside.Mean())

    scorer = remade(project, lineage, tmp_path)

    _, _, truth = learning_set(project.root / "data" / "train.parquet")
    rows = as_rows(pl.read_parquet(project.root / "data" / "test.parquet").head(3))
    assert scorer.score_rows(rows) == pytest.approx([truth.mean()] * 3)


def test_a_graph_without_the_output_of_its_kind_is_refused(
    finished: Project, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = install(MEAN, "slipway.exporter", "Exporter")
    monkeypatch.setattr(outside.Exporter, "output", "another")
    _, rows, truth = learning_set(finished.root / "data" / "test.parquet")
    model = outside.Mean().fit(rows, truth)

    with pytest.raises(MlopsError, match="has no output variable with the scores of a number, but another"):
        convert(model, kinds.of(model), rows, tmp_path / "made.onnx")


def test_an_entry_point_that_cannot_be_loaded_is_told(install: Install) -> None:
    install("", kinds.GROUP, "Forgotten")

    with pytest.raises(MlopsError, match=r"slipway\.kind names outside0 as outside0:Forgotten, which cannot be"):
        kinds.of(object())
