"""Models that are kept in the format of their library: they score as the estimator does, wherever they are asked."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
import skops.io
from flight_delays import model as team
from flight_delays.contract import CONTRACT
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from slipway import kinds
from slipway.base.errors import MlopsError
from slipway.contract.frames import columns
from slipway.data.dvc import DataVersion
from slipway.data.stages import run_stage
from slipway.serving import batch
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.settings.edit import REMOVED, edited
from slipway.settings.params import OwnFormat, Params
from slipway.settings.project import Project
from slipway.training import formats, parity
from slipway.training.agreement import require_agreement
from slipway.training.bundle import Bundle, Lineage, seal
from slipway.training.formats.base import ModelFormat
from slipway.training.formats.skops import SkopsFormat
from slipway.training.scoring import Scorer, load
from slipway.training.train import convert, learned_from, learning_set
from starlette.testclient import TestClient

HISTOGRAMS = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
]


def estimator_of(form: str, kind: str = "class", *, seed: int = 7) -> Any:
    """A small estimator that has no converter, or whose converter loses something; of CatBoost one like others."""
    from catboost import CatBoostClassifier, CatBoostRegressor
    from lightgbm import LGBMClassifier, LGBMRegressor
    from xgboost import XGBClassifier, XGBRegressor

    trees: dict[str, Any] = {"random_state": seed}
    boosted: dict[str, Any] = {"n_estimators": 15, "n_jobs": 1, **trees}
    is_class = kind != "number"
    match form:
        case "xgboost":
            return (XGBClassifier if is_class else XGBRegressor)(booster="dart", **boosted)
        case "lightgbm":
            return (LGBMClassifier if is_class else LGBMRegressor)(
                linear_tree=True, deterministic=True, verbose=-1, **boosted
            )
        case "catboost":
            how: dict[str, Any] = {"iterations": 15, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
            how |= trees
            return CatBoostClassifier(**how) if is_class else CatBoostRegressor(loss_function="Poisson", **how)
        case _:
            of_rows = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
            return of_rows(max_iter=15, categorical_features=[CARRIER], **trees)


#: The place of the carrier, which is a code, among the features of the example.
CARRIER = 2
OWN = ("xgboost", "lightgbm", "catboost", "skops")


def trusted(form: str) -> list[str]:
    return HISTOGRAMS if form == "skops" else []


class Kept(NamedTuple):
    """A sealed bundle in a format, with the project that made it and the estimator that it was made from."""

    form: ModelFormat
    project: Project
    bundle: Bundle
    estimator: Any


@pytest.fixture(scope="module")
def all_kept(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """A bundle in each format."""
    return {form: keep(form, finished, tmp_path_factory.mktemp(form)) for form in OWN}


@pytest.fixture(params=OWN)
def kept(request: pytest.FixtureRequest, all_kept: dict[str, Kept]) -> Kept:
    """A bundle in one of the formats."""
    return all_kept[request.param]


def keep(form: str, finished: Project, place: Path) -> Kept:
    """Run the stages of a project whose params.yaml names a format."""
    shutil.copytree(finished.root, place / "project")
    project = Project(place / "project")
    ask_for(project, form)
    lineage = Lineage(
        commit="0" * 40, repository="tests", run_id="0" * 32, pipeline="0" * 64,
        data=[DataVersion(path="data", md5="0" * 32)], lock="0" * 64, python="3", platform="any",
    )  # fmt: skip
    made = estimator_of(form, seed=project.params.seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(team, "build", lambda *_, **__: made)
        for stage in ("train", "evaluate", "export"):
            run_stage(project, stage)
    return Kept(formats.named(form), project, seal(project.bundle, place / "bundle", lineage), made)


def ask_for(project: Project, form: str, types: list[str] | None = None) -> None:
    path = project.root / "params.yaml"
    asked: dict[str, Any] = {"name": form}
    asked |= {"trusted": found} if (found := trusted(form) if types is None else types) else {}
    path.write_text(edited(path.read_text("utf-8"), {"model_format": asked}, Params, path.name), encoding="utf-8")


def test_the_bundle_holds_the_model_in_its_format_and_says_which_library_wrote_it(kept: Kept) -> None:
    facts = kept.bundle.model
    held = {path.name for path in kept.bundle.path.iterdir()}

    library = "sklearn" if kept.form.name == "skops" else kept.form.name
    assert facts.format == kept.form.name
    assert facts.libraries == {library: sys.modules[library].__version__}
    assert facts.trusted == trusted(kept.form.name)
    assert kept.form.file in held
    assert "model.onnx" not in held


def test_every_value_of_the_contract_is_scored_as_by_the_estimator(kept: Kept) -> None:
    scorer = Scorer(kept.bundle)
    tested = pl.read_parquet(kept.project.root / "data" / "test.parquet")
    asked = [probe.rows for probe in parity.probes(tested, kept.bundle.model.features)]

    assert len(asked) > 20
    for rows in [learned_from(tested)[1], *asked]:
        assert scorer._model(rows) == pytest.approx(scorer.kind.predicted(kept.estimator, rows), rel=1e-5, abs=1e-6)


def test_the_same_estimator_gives_the_same_bytes(kept: Kept) -> None:
    names, rows, truth = learning_set(kept.project.root / "data" / "train.parquet")
    again = estimator_of(kept.form.name, seed=kept.project.params.seed).fit(rows, truth.astype(int))

    assert kept.form.content(again, kinds.named("class"), rows) == kept.bundle.model_file.read_bytes()
    assert len(names) == rows.shape[1]


def test_a_server_a_batch_and_an_explanation_answer_by_it(kept: Kept, tmp_path: Path) -> None:
    scorer = Scorer(kept.bundle)
    served = Served("test", 1, kept.bundle.digest, "0" * 40, "cache")
    policy = msgspec.structs.replace(kept.project.policy.serving, return_score=True, explain=True)
    client = TestClient(create_app(ServingContext(scorer, served, policy)))

    golden = kept.bundle.golden
    answers = client.post("/predict", json={"rows": golden.rows}).json()["predictions"]
    assert [answer["score"] for answer in answers] == pytest.approx(golden.scores, rel=1e-4)
    assert client.get(f"/v2/models/{scorer.facts.name}").json()["platform"] == kept.form.platform
    told = client.post("/predict", params={"explain": "true"}, json=golden.rows[0]).json()["contributions"]
    assert any(told.values())

    raw = pl.read_parquet(kept.project.root / "data" / "raw.parquet").head(500)
    raw.write_parquet(tmp_path / "rows.parquet")
    for name, threads in (("some.parquet", 1), ("all.parquet", 0)):
        batch.predict(
            Scorer(kept.bundle, threads), tmp_path / "rows.parquet", tmp_path / name, with_score=True, log=print
        )
    one, other = (pl.read_parquet(tmp_path / name) for name in ("some.parquet", "all.parquet"))
    assert one.equals(other)
    assert one.height == 500


def test_it_answers_beside_a_model_in_onnx_in_one_process(kept: Kept, finished: Project) -> None:
    rows = columns(pl.read_parquet(finished.root / "data" / "test.parquet"), CONTRACT.fields)
    own, other = Scorer(kept.bundle), load(finished.root / "model", Bundle(finished.bundle).model, kinds.named("class"))
    before = own.scores(rows)

    asked = learning_set(finished.root / "data" / "test.parquet")[1]
    assert not np.allclose(other(asked), before)
    assert np.array_equal(own.scores(rows), before)


#: Ends with the names of what was unpickled while a bundle's model was loaded and asked.
WATCHED = """
import sys
import catboost, lightgbm, skops.io, xgboost  # LightGBM imports Dask where that is there, which unpickles its operators
found = []
sys.addaudithook(lambda event, args: found.append(".".join(args[1:])) if event == "pickle.find_class" else None)
from pathlib import Path
import numpy as np
from slipway import kinds
from slipway.training.bundle import Bundle
from slipway.training.scoring import load
for folder in sys.argv[1:]:
    bundle = Bundle(Path(folder))
    load(bundle.path, bundle.model, kinds.named(bundle.model.kind))(np.zeros((2, len(bundle.model.features)), "f4"))
print("unpickled:", *found)
import pickle
pickle.loads(pickle.dumps(Path("twin")))
print("twin:", *found)
"""


def test_nothing_is_unpickled_when_a_model_is_loaded_and_asked(all_kept: dict[str, Kept]) -> None:
    folders = [str(kept.bundle.path) for kept in all_kept.values()]
    done = subprocess.run([sys.executable, "-c", WATCHED, *folders], capture_output=True, check=True, text=True).stdout

    assert "unpickled:\n" in done
    assert "PosixPath" in done.partition("twin:")[2]  # the twin: what is unpickled is seen


def test_another_version_of_the_library_than_wrote_the_model_is_refused(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((library, version),) = kept.bundle.model.libraries.items()
    monkeypatch.setattr(sys.modules[library], "__version__", "0.1")

    with pytest.raises(MlopsError, match=rf"{kept.form.file} was written by {library} {version}, and here is .* 0\.1"):
        Scorer(kept.bundle)


def test_a_library_that_is_not_installed_is_told(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    (library,) = kept.bundle.model.libraries
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(MlopsError, match=f"the model is read by {library}, which cannot be imported here"):
        Scorer(kept.bundle)


# ------------------------------------------------------------------------------------------------- one format at a time


@pytest.fixture(scope="module")
def learned(finished: Project) -> tuple[Any, Any]:
    """Features and truth of a part of the training rows."""
    _, rows, truth = learning_set(finished.root / "data" / "train.parquet")
    return rows[::4], truth[::4].astype(int)


@pytest.mark.parametrize("form", OWN)
@pytest.mark.parametrize("kind", ["number", "multiclass"])
def test_quantities_and_several_classes_are_scored_as_by_the_estimator(
    form: str, kind: str, learned: tuple[Any, Any], tmp_path: Path
) -> None:
    rows, truth = learned
    target = rows[:, 1] + 10 if kind == "number" else truth + (rows[:, 1] > np.nanmedian(rows[:, 1]))
    model = estimator_of(form, kind).fit(rows, np.nan_to_num(target))
    known, own = kinds.named(kind, ("a", "b", "c") if kind == "multiclass" else ()), formats.named(form)

    loaded = convert(model, known, rows, tmp_path / own.file, own, trusted(form))

    assert loaded(rows) == pytest.approx(known.predicted(model, rows), rel=1e-4, abs=1e-5)
    assert loaded(rows[:1]).shape == ((1, 3) if kind == "multiclass" else (1,))


class Remembers(LogisticRegression):  # type: ignore[misc]
    """An estimator whose state does something when it is set."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        Path(state["place"]).write_text("done")


def test_a_type_that_is_not_trusted_is_named_and_its_state_never_set(learned: tuple[Any, Any], tmp_path: Path) -> None:
    model = Remembers()
    model.place = str(tmp_path / "touched")
    path, kind = tmp_path / "model.skops", kinds.named("class")
    skops.io.dump(make_pipeline(model), path)

    with pytest.raises(MlopsError, match=r"model\.skops holds types that are not trusted: .*\.Remembers") as told:
        SkopsFormat().load(path, kind, threads=1, trusted=HISTOGRAMS)
    assert "params.yaml, model_format.trusted" in str(told.value)
    assert not (tmp_path / "touched").exists()
    histograms = estimator_of("skops").fit(*learned)
    with pytest.raises(MlopsError, match=r"are not trusted: .*TreePredictor"):
        convert(histograms, kind, learned[0], path, SkopsFormat(), HISTOGRAMS[:1])


def test_a_booster_inside_a_file_of_skops_gives_the_same_bytes_too(learned: tuple[Any, Any], tmp_path: Path) -> None:
    """skops names what a booster is by a random number, which may begin with digits."""
    model, form = make_pipeline(estimator_of("xgboost")).fit(*learned), SkopsFormat()
    contents = {form.content(model, kinds.named("class"), learned[0]) for _ in range(12)}
    types = skops.io.get_untrusted_types(data=skops.io.dumps(model))

    assert len(contents) == 1
    loaded = convert(model, kinds.named("class"), learned[0], tmp_path / form.file, form, types)
    assert loaded(learned[0]) == pytest.approx(model.predict_proba(learned[0])[:, 1], rel=1e-5)
    assert form.modules(tmp_path / form.file) == ["sklearn", "xgboost"]


def test_a_file_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    for name in OWN:
        form = formats.named(name)
        (tmp_path / form.file).write_bytes(pickle.dumps(make_pipeline(LogisticRegression())))
        with pytest.raises(Exception, match=r".") as told:
            formats.load(tmp_path / form.file, form, kinds.named("class"), libraries={}, threads=1, trusted=[])
        assert not isinstance(told.value, AssertionError)


def test_what_a_library_cannot_do_with_its_own_file_is_told(learned: tuple[Any, Any], tmp_path: Path) -> None:
    from xgboost import XGBClassifier

    line = XGBClassifier(n_estimators=2, booster="gblinear").fit(*learned)

    with pytest.raises(MlopsError, match=r"XGBClassifier in model\.py cannot be kept in the format xgboost: .*Inplace"):
        convert(line, kinds.named("class"), learned[0], tmp_path / "model.ubj", formats.named("xgboost"))


def test_a_format_that_this_platform_does_not_know_is_told() -> None:
    with pytest.raises(MlopsError, match="kept in the format 'safetensors', and this platform knows onnx, xgboost"):
        formats.named("safetensors")


def test_a_model_without_a_converter_is_told_of_the_setting(learned: tuple[Any, Any], tmp_path: Path) -> None:
    from xgboost import XGBClassifier

    dart = XGBClassifier(n_estimators=2, booster="dart").fit(*learned)

    with pytest.raises(MlopsError, match="cannot be converted to ONNX") as told:
        convert(dart, kinds.named("class"), learned[0], tmp_path / "model.onnx")
    assert "model_format in params.yaml" in str(told.value)


def test_a_wrong_setting_is_refused_before_any_work(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "build", lambda seed, **_: make_pipeline(estimator_of("xgboost", seed=seed)))
    ask_for(project, "xgboost")
    with pytest.raises(MlopsError, match=r"model_format: xgboost keeps no Pipeline, which model\.py") as told:
        require_agreement(Project(project.root), print)
    assert "name skops" in str(told.value)

    ask_for(project, "skops", ["a.B"])
    with pytest.raises(
        MlopsError, match=r"dvc\.yaml does not have model/model\.skops in the outs of train, .*params o"
    ):
        require_agreement(Project(project.root), print)

    pipeline = project.root / "dvc.yaml"
    text = pipeline.read_text("utf-8").replace("model/model.onnx", "model/model.skops")
    pipeline.write_text(text.replace("      - decision\n", "      - decision\n      - model_format\n", 1), "utf-8")
    require_agreement(Project(project.root), print)

    params = project.root / "params.yaml"
    params.write_text(edited(params.read_text("utf-8"), {"model_format": REMOVED}, Params, params.name), "utf-8")
    with pytest.raises(MlopsError, match=r"dvc\.yaml does not have model/model\.onnx in the outs of train, "):
        require_agreement(Project(project.root), print)


def test_only_skops_has_types_to_trust() -> None:
    with pytest.raises(ValueError, match=r"model_format\.trusted is about skops, and a file of xgb"):
        OwnFormat(name="xgboost", trusted=["a.B"])
