"""The search for better parameters: what it asks, what it never looks at, and that a kill changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from flight_delays.contract import CONTRACT
from rendering import ROOT, commit, git
from slipway.base.errors import MlopsError
from slipway.pages.search_page import search_page
from slipway.proposals import better
from slipway.settings.base import read_settings
from slipway.settings.params import Params
from slipway.settings.project import Project
from slipway.settings.search import ParameterRange, SearchParams, Values
from slipway.training import engines, exam, folds, search, study
from slipway.training.folds import folds_of
from slipway.training.search_result import SearchResult, best_of, conclude, gain_of, search_text
from slipway.training.search_runs import SearchRuns
from slipway.training.study import TrialStore, Tried
from slipway.training.tracking import connect, experiment, record, store_uri, translated

# MLflow's own, of its use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

PAGE = (ROOT / "template" / "vendor" / "slipway" / "docs" / "search.md").read_text("utf-8")
TRIALS = 10
RANGES = """
  ranges:
    n_estimators: {low: 2, high: 12}
    learning_rate: {low: 0.01, high: 0.5, log: true}
    max_depth: {low: 1, high: 4}
"""


def asking(project: Project, ranges: str = RANGES, **others: Any) -> Project:
    """A project with a small model, and a block `search` by the first metric of its gates."""
    path = project.root / "params.yaml"
    text = path.read_text("utf-8").replace("n_estimators: 150", "n_estimators: 3 # few")
    facts = {"metric": next(iter(project.policy.gates.metrics)), **others}
    lines = "".join(f"\n  {key}: {value}" for key, value in facts.items())
    path.write_text(f"{text}\nsearch:{lines}{ranges}", encoding="utf-8")
    return Project(project.root)


@pytest.fixture(scope="module")
def small(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that may search, and has a store of runs. Tests must not change it."""
    root = tmp_path_factory.mktemp("small") / "project"
    shutil.copytree(finished.root, root)
    project = asking(Project(root))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(project)
    return project


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What the search of `whole` says while it works."""
    return []


@pytest.fixture(scope="module")
def whole(small: Project, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search that nobody interrupts."""
    project = copy(small, tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return search.run(project, TRIALS, None, lines.append)


def copy(project: Project, place: Path) -> Project:
    shutil.copytree(project.root, place / "project")
    return Project(place / "project")


def runs(project: Project) -> dict[int, str]:
    """The status of the run of each trial, those that were torn left out."""
    with translated(store_uri(project)):
        client = connect(project)
        (place,) = [experiment(project, client)]
        (parent,) = client.search_runs([place], filter_string="tags.`mlops.search` != ''")
        inside = client.search_runs([place], filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    kept = [run for run in inside if run.info.status != "KILLED"]
    found = {int(run.data.tags["mlops.trial"]): run.info.status for run in kept}
    assert len(found) == len(kept)
    return found | {-1: parent.info.status}


def opened(project: Project, known: list[Tried]) -> SearchRuns:
    """The runs of a search that knows these trials."""
    made = SearchRuns(project, "search", "k", next(iter(project.policy.gates.metrics)), {})
    for one in known:
        made.record(one)
    return made


def test_a_search_that_was_killed_and_goes_on_finds_what_it_would_have_found(
    small: Project, whole: SearchResult, tmp_path: Path
) -> None:
    project = copy(small, tmp_path)
    command = [sys.executable, "-m", "slipway", "search", "--trials", str(TRIALS)]
    with subprocess.Popen(command, cwd=project.root, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        assert any(f"trial 4 of {TRIALS}" in line for line in started.stderr)
        os.kill(started.pid, signal.SIGKILL)
    said: list[str] = []

    result = search.run(project, TRIALS, None, said.append)

    assert started.returncode == -signal.SIGKILL
    assert said[1] in [f"search: {many} trials known from before" for many in range(4, TRIALS)]
    assert result == whole
    assert runs(project) == dict.fromkeys(range(-1, TRIALS + 1), "FINISHED")


def test_the_test_rows_are_not_read(small: Project, whole: SearchResult, tmp_path: Path) -> None:
    """The rows before the split, and what was made of the test rows, are gone as well."""
    project = copy(small, tmp_path)
    shutil.rmtree(project.root / "model")
    shutil.rmtree(project.root / "reports")
    (project.root / "data" / "valid.parquet").unlink()
    (project.root / "data" / "test.parquet").write_bytes(b"no rows")

    result = search.run(project, 3, None, print)

    assert result.tried == whole.tried[:4]


def test_a_trial_that_was_not_recorded_in_time_is_recorded_by_the_next_start(small: Project, tmp_path: Path) -> None:
    """A kill may fall between writing a trial down and recording it, or into the recording."""
    project = copy(small, tmp_path)
    tried = [
        Tried(number=0, params={"max_depth": 4}, outcome="measured", values=[0.5, 0.7]),
        Tried(number=1, params={"max_depth": 2}, outcome="stopped", values=[0.4]),
        Tried(number=2, params={"max_depth": 3}, outcome="failed", values=[], reason="no"),
    ]
    opened(project, tried[:1])
    client = connect(project)
    (parent,) = client.search_runs([experiment(project, client)], filter_string="tags.`mlops.search` = 'k'")
    torn = {"mlflow.parentRunId": parent.info.run_id, "mlops.trial": "1"}
    client.create_run(experiment(project, client), tags=torn)

    with opened(project, tried):
        assert runs(project) == {-1: "RUNNING", 0: "FINISHED", 1: "FINISHED", 2: "FAILED"}

    opened(project, tried)
    assert runs(project) == {-1: "RUNNING", 0: "FINISHED", 1: "FINISHED", 2: "FAILED"}


def test_each_trial_is_told_with_its_number_its_value_and_the_best(whole: SearchResult, lines: list[str]) -> None:
    told = [line for line in lines if line.startswith("search: trial ")]

    assert [line.split(":")[1] for line in told] == [f" trial {number} of {TRIALS}" for number in range(1, TRIALS + 1)]
    assert all(", best " in line for line in told)
    assert f"best {whole.best.mean:.4f} of trial {whole.best.number}" in told[-1]


def test_what_was_tried_lies_in_the_ranges_and_is_written_with_few_digits(whole: SearchResult) -> None:
    tried = [one.params for one in whole.tried[1:]]

    assert {type(one["n_estimators"]) for one in tried} == {int}
    assert all(2 <= one["n_estimators"] <= 12 and 0.01 <= one["learning_rate"] <= 0.5 for one in tried)
    assert max(len(f"{one['learning_rate']:g}") for one in tried) <= len("0.01234")
    assert whole.tried[0].params == whole.present.params == {"n_estimators": 3, "learning_rate": 0.05, "max_depth": 4}


def test_the_page_shows_the_history_what_mattered_and_the_best_beside_the_present(whole: SearchResult) -> None:
    page = search_page(whole)

    assert page.count("<svg") == 1
    assert "<script" not in page
    assert page.count("<tr><th>trial ") + page.count("<tr><th>present") >= 5
    assert page.count("<tr><th>present") == 1
    assert page == search_page(msgspec.convert(msgspec.to_builtins(whole), SearchResult))
    assert search_text(whole).splitlines()[-1] == whole.sentence


def test_a_corner_of_the_ranges_that_a_library_refuses_is_told_and_not_the_end(small: Project, tmp_path: Path) -> None:
    project = copy(small, tmp_path)
    path = project.root / "params.yaml"
    path.write_text(path.read_text("utf-8").replace("max_depth: {low: 1, high: 4}", "subsample: [0.5, 7.5]"), "utf-8")

    result = search.run(Project(project.root), 6, None, print)

    outcomes = {one.outcome for one in result.tried if one.params["subsample"] == 7.5}
    assert outcomes == {"failed"}
    assert result.best.params["subsample"] == 0.5
    assert "the model in model.py cannot learn from these rows: The 'subsample' parameter" in result.remarks[-1]
    assert "FAILED" in runs(project).values()


def written(tmp_path: Path, block: str) -> Params:
    path = tmp_path / "params.yaml"
    text = "seed: 7\ndata: {source: x, as_of: 2014-01-01}\nsplit: {by: time}\nmodel: {depth: 4, rate: 0.1, kind: a}\n"
    path.write_text(f"{text}search:\n  metric: loss\n{block}", encoding="utf-8")
    return read_settings(path, Params)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("  ranges: {depth: {low: 4, high: 4}}", "ranges.depth: the range is empty, as low 4 is not below high 4"),
        ("  ranges: {depth: {low: 9, high: 1}}", "ranges.depth: the range is empty"),
        ("  ranges: {rate: {low: 0, high: 1, log: true}}", "ranges.rate: log needs numbers above 0, and low is 0"),
        ("  ranges: {rate: {low: 1e-4, high: 1}}", "ranges.rate: low is the text '1e-4'; a number is written like"),
        ("  ranges: {rate: {low: 0.1, high: 1, step: 0.4}}", "ranges.rate: steps of 0.4 do not lead from low 0.1"),
        ("  ranges: {rate: {low: 1, high: 9, step: 2, log: true}}", "ranges.rate: log and step exclude each other"),
        ("  ranges: {rate: {low: 1, hihg: 9}}", "ranges.rate: Object contains unknown field `hihg`"),
        ("  ranges: {kind: [a]}", "ranges.kind: a list of choices has at least two"),
        ("  ranges: {kind: [a, b, a]}", "ranges.kind: the choice 'a' stands there twice"),
        ("  ranges: {kind: a}", "ranges.kind: Expected"),
        ("  ranges: {}", "ranges names no parameter"),
        ("  range: {kind: [a, b]}", "Object contains unknown field `range`"),
    ],
)
def test_a_range_that_nothing_can_be_tried_in_is_refused_by_its_name(tmp_path: Path, block: str, said: str) -> None:
    with pytest.raises(MlopsError) as refused:
        written(tmp_path, block)

    assert refused.value.problem.startswith(f"params.yaml, search: {said}")


def test_a_range_may_have_steps_choices_or_whole_numbers(tmp_path: Path) -> None:
    block = "  ranges: {depth: {low: 1, high: 9, step: 2}, rate: {low: 0.1, high: 1, step: 0.3}, kind: [a, null, true]}"

    asked = written(tmp_path, block).search

    assert asked is not None
    assert asked.ranges == {
        "depth": ParameterRange(low=1, high=9, step=2),
        "rate": ParameterRange(low=0.1, high=1, step=0.3),
        "kind": ["a", None, True],
    }


@pytest.mark.parametrize(
    ("change", "said", "then"),
    [
        ({"metric": "los"}, "params.yaml, search.metric: no gate in policy.yaml says whether los", "choose from "),
        ({"ranges": {"dept": [1, 2]}}, "params.yaml, search.ranges.dept: model has no parameter dept", "choose from "),
        (
            {"ranges": {"subsample": ParameterRange(low=0, high=1)}},
            "params.yaml, search.ranges.subsample: only whole numbers lie between 0 and 1",
            "write 0.0 and 1.0",
        ),
    ],
)
def test_a_name_that_is_not_there_is_refused_before_any_work(
    project: Project, change: dict[str, Any], said: str, then: str
) -> None:
    gate = next(iter(project.policy.gates.metrics))
    facts: dict[str, Any] = {"metric": gate, "ranges": {"max_depth": ParameterRange(low=1, high=2)}}
    project.params.search = SearchParams(**facts | change)
    shutil.rmtree(project.root / "data")

    with pytest.raises(MlopsError) as refused:
        search.run(project, None, None, print)

    assert refused.value.problem.startswith(said)
    assert refused.value.next_step.startswith(then)


def test_without_a_block_the_refusal_brings_one_that_works(project: Project) -> None:
    with pytest.raises(MlopsError, match=r"params.yaml has no block search") as refused:
        search.run(project, None, None, print)

    path = project.root / "params.yaml"
    path.write_text(path.read_text("utf-8") + "\n" + refused.value.next_step.partition("\n\n")[2], "utf-8")
    asked = search.require_asked(Project(project.root))
    present = project.params.model
    assert asked.ranges.keys() == {name for name, value in present.items() if not isinstance(value, str)}
    assert all(float(values.low) <= present[name] <= float(values.high) for name, values in asked.ranges.items())


def test_the_block_on_the_page_works_and_its_table_has_every_key(tmp_path: Path, project: Project) -> None:
    path = project.root / "params.yaml"
    block = PAGE.partition("```yaml\n")[2].partition("```")[0]
    metric = next(iter(project.policy.gates.metrics))
    path.write_text(f"{path.read_text('utf-8')}\n{block.replace('roc_auc', metric)}", encoding="utf-8")

    asked = search.require_asked(Project(project.root))

    keys = {field.name: field.default for field in msgspec.structs.fields(SearchParams)}
    table = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE, flags=re.MULTILINE))
    assert len(asked.ranges) == 5
    assert table.keys() == keys.keys()
    assert {name: table[name] for name in ("trials", "folds")} == {
        name: f"{keys[name]}" for name in ("trials", "folds")
    }
    assert study.NEEDED in PAGE


def test_without_optuna_it_is_said_how_to_get_it(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(MlopsError, match="a search needs Optuna, which is not installed") as refused:
        search.run(small, None, None, print)

    assert refused.value.next_step == 'uv add --group dev "optuna>=5,<6"'


def test_rows_that_another_split_has_made_are_refused(small: Project, tmp_path: Path) -> None:
    """What params.yaml calls test rows by now may be among them."""
    project = copy(small, tmp_path)
    rows, params = project.root / exam.TRAIN, project.root / "params.yaml"
    split = msgspec.yaml.decode(params.read_bytes())["split"]
    digest = md5(rows.read_bytes()).hexdigest()
    outs = [{"path": exam.TRAIN, "md5": digest}]
    stage = {"cmd": "mlops stage split", "params": {"params.yaml": {"split": split}}, "outs": outs}
    (project.root / "dvc.lock").write_bytes(msgspec.yaml.encode({"schema": "2.0", "stages": {"split": stage}}))
    asked = search.require_asked(project)
    assert exam.Exam.of(project, asked.metric, 3, engines.HERE).rows > 1000

    params.write_text(params.read_text("utf-8").replace("test_share: 0.2", "test_share: 0.3"), "utf-8")

    with pytest.raises(MlopsError, match=r"data/train.parquet is not what split in params.yaml asks for"):
        exam.Exam.of(project, asked.metric, 3, engines.HERE)


@pytest.mark.parametrize("left", ["", "schema: '2.0'\nstages:\n  split:\n    outs:\n    - pa"])
def test_a_lock_that_was_cut_off_is_refused(small: Project, tmp_path: Path, left: str) -> None:
    project = copy(small, tmp_path)
    (project.root / "dvc.lock").write_text(left, encoding="utf-8")

    with pytest.raises(MlopsError, match=r"dvc.lock cannot be read, as after a run that was killed") as refused:
        exam.Exam.of(project, search.require_asked(project).metric, 3, engines.HERE)

    assert refused.value.next_step == "mlops pipeline"


def test_no_stage_runs_again_for_another_search(finished: Project) -> None:
    stages = msgspec.yaml.decode((finished.root / "dvc.yaml").read_bytes())["stages"].values()

    named = {name for stage in stages for name in stage.get("params", []) if isinstance(name, str)}

    assert {"model", "seed"} <= named
    assert not [name for name in named if "search" in name or name.endswith(".yaml")]
    assert "params.yaml" not in {dep for stage in stages for dep in stage["deps"]}


def test_a_run_of_the_pipeline_does_not_name_where_a_search_looks(small: Project, tmp_path: Path) -> None:
    project = copy(small, tmp_path)
    client = connect(project)

    params = client.get_run(record(project, client, {}, status="FAILED")).data.params

    assert params["model.max_depth"] == "4"
    assert not [name for name in params if name.startswith("search")]


def test_another_search_has_another_key(small: Project, tmp_path: Path) -> None:
    project = copy(small, tmp_path)
    rows, asked = project.root / exam.TRAIN, search.require_asked(project)
    before = search._key(project, asked)

    other = msgspec.structs.replace(asked, trials=9, minutes=1.0)
    assert search._key(project, other) == before

    project.params.seed += 1
    assert search._key(project, asked) != before
    project.params.seed -= 1
    assert search._key(project, msgspec.structs.replace(asked, folds=4)) != before
    pl.read_parquet(rows)[1:].write_parquet(rows)
    assert search._key(project, asked) != before


def timed(days: list[int]) -> pl.DataFrame:
    at = [datetime(2013, 1, 1) + timedelta(days=day) for day in days]
    return pl.DataFrame({CONTRACT.time: at}, schema={str(CONTRACT.time): pl.Datetime("ms")})


def test_folds_by_time_ask_about_what_came_after_what_was_learned() -> None:
    """Rows of one moment stay together; every row after the first border is asked about once."""
    days = [*np.random.default_rng(1).integers(0, 60, 1000).tolist()]
    times = timed(days)[str(CONTRACT.time)].to_numpy()

    found = folds_of(timed(days), 3)

    assert all(times[fold.learned].max() < times[fold.asked].min() for fold in found)
    assert np.sum([fold.asked for fold in found], axis=0).max() == 1
    assert (np.any([fold.asked for fold in found], axis=0) | found[0].learned).all()
    assert all(140 < fold.asked.sum() < 200 for fold in found)
    assert 470 < found[0].learned.sum() <= 500


def test_what_is_measured_anew_has_other_borders() -> None:
    days = timed([*range(1000)])
    times = days[str(CONTRACT.time)].to_numpy()

    found, anew = ({times[fold.asked].min() for fold in folds_of(days, count)} for count in (4, exam.count_anew(4)))

    assert len(anew) > 2 * len(found)
    assert found & anew == {times[500]}  # where asking begins


def test_too_few_moments_are_refused() -> None:
    with pytest.raises(MlopsError, match=r"the 40 training rows have too few different values of departs for 3 folds"):
        folds_of(timed([1, 2] * 20), 3)


def test_folds_by_digest_ask_about_each_row_once_and_follow_it(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "CONTRACT", type(CONTRACT)(row=CONTRACT.row, outcome=CONTRACT.outcome, key=CONTRACT.key))
    rows = pl.read_parquet(finished.root / exam.TRAIN)

    found, backwards = folds_of(rows, 3), folds_of(rows[::-1], 3)

    assert np.sum([fold.asked for fold in found], axis=0).tolist() == [1] * rows.height
    assert all((fold.asked != fold.learned).all() for fold in found)
    assert all((one.asked == other.asked[::-1]).all() for one, other in zip(found, backwards, strict=True))
    assert min(fold.asked.sum() for fold in found) > rows.height / 4


SPACES: dict[str, Values] = {"x": ParameterRange(low=0.0, high=1.0), "kind": ["a", "b"]}


def worth(params: dict[str, Any]) -> list[float]:
    return [(params["x"] - 0.3) ** 2 + (params["kind"] == "a") + fold / 10 for fold in range(3)]


def tries(open_history: Callable[[], TrialStore], many: int) -> list[Tried]:
    history = open_history()
    history.add(Tried(number=0, params={"x": 7.0, "kind": "a"}, outcome="measured", values=[9.0, 9.0, 9.0]))
    for number in range(1, many + 1):
        history = open_history()
        params = history.suggest().params
        history.add(Tried(number=number, params=params, outcome="measured", values=worth(params)))
    return history.tried


def test_the_next_trial_follows_from_the_seed_and_the_finished_ones_alone(tmp_path: Path) -> None:
    """A history that is opened for each trial anew tries what one that stays open does."""
    kept = TrialStore(tmp_path / "kept.db", SPACES, -1, 7)

    one = tries(lambda: kept, 8)
    other = tries(lambda: TrialStore(tmp_path / "anew.db", SPACES, -1, 7), 8)
    elsewhere = tries(lambda: TrialStore(tmp_path / "other.db", SPACES, -1, 8), 1)

    assert one == other
    assert one[1] != elsewhere[1]
    assert kept.importance()["kind"] > 0.3


def test_a_trial_worse_than_most_is_hopeless_whichever_way_is_better(tmp_path: Path) -> None:
    for sign, bad in ((-1, 9.0), (1, -9.0)):
        history = TrialStore(tmp_path / f"{sign}.db", SPACES, sign, 7)
        for number in range(7):
            history.add(
                Tried(number=number, params={"x": 0.1 * number, "kind": "a"}, outcome="measured", values=[number] * 3)
            )

        assert history.suggest().is_hopeless([bad])
        assert not history.suggest().is_hopeless([3.5 + 3 * sign])


def concluded(anew: tuple[list[float], list[float]] | None, sign: int = 1) -> SearchResult:
    tried = [
        Tried(number=0, params={"x": 1, "y": "a"}, outcome="measured", values=[0.5, 0.6]),
        Tried(number=1, params={"x": 2, "y": "a"}, outcome="measured", values=[0.7, 0.8]),
    ]
    ranked = [*reversed(tried)] if anew else tried
    return conclude("m", "auc", sign, tried, ranked, anew, importance={}, key="k", folds="2 folds", rows=9)


def test_only_a_gain_that_chance_does_not_explain_changes_what_differs() -> None:
    sure = concluded(([0.71, 0.72, 0.73, 0.74], [0.70, 0.70, 0.71, 0.72]))
    by_chance = concluded(([0.71, 0.75, 0.69, 0.74], [0.70, 0.70, 0.71, 0.72]))

    assert sure.changes == {"x": 2}
    assert sure.sentence == (
        "trial 1, the best of 1, is better by 0.018 in auc, and at least by 0.012, "
        "measured anew on 4 other folds and with another seed"
    )
    assert by_chance.changes == {}
    assert by_chance.sentence.startswith("the present parameters stay: trial 1, the best of 1, was better by 0.015 in")
    assert by_chance.sentence.endswith("which may be chance")


def test_lower_is_better_where_the_gate_says_so() -> None:
    less, more = [0.70, 0.70, 0.71, 0.72], [0.71, 0.72, 0.73, 0.74]

    assert concluded((less, more), sign=-1).changes == {"x": 2}
    assert concluded((more, less), sign=-1).sentence.startswith(
        "the present parameters stay: trial 1, the best of 1, was not better when measured anew"
    )


def test_parameters_that_were_tried_twice_stand_once_among_the_best() -> None:
    def trial(number: int, x: int, value: float) -> Tried:
        return Tried(number=number, params={"x": x}, outcome="measured", values=[value])

    stopped = Tried(number=3, params={"x": 9}, outcome="stopped", values=[0.9])
    tried = [trial(0, 1, 0.5), trial(1, 2, 0.7), trial(2, 2, 0.7), stopped]

    assert [one.number for one in best_of(tried, 1)] == [1, 0]
    assert [one.number for one in best_of(tried, -1)] == [0, 1]


def test_where_the_present_is_the_best_nothing_changes() -> None:
    assert concluded(None).changes == {}
    assert concluded(None).sentence == "the present parameters are the best of 1 trial: auc 0.5500"


def test_equal_gains_in_all_folds_are_no_chance() -> None:
    assert gain_of([0.01, 0.01]).is_sure
    assert not gain_of([0.0, 0.0]).is_sure


@pytest.fixture
def committed(small: Project, whole: SearchResult, tmp_path: Path) -> tuple[Project, SearchResult]:
    """A repository, and a result that is better in two values."""
    project = copy(small, tmp_path)
    git(project.root, "init", "--quiet")
    (project.root / ".gitignore").write_text("/.mlops/\n/data/\n", encoding="utf-8")
    commit(project.root, "Begin")
    return project, msgspec.structs.replace(whole, changes={"n_estimators": 9, "learning_rate": 0.3})


def test_a_proposal_changes_the_values_and_nothing_else(committed: tuple[Project, SearchResult]) -> None:
    project, result = committed

    proposal = better.propose_better(project, result)

    changed = git(project.root, "diff", "--unified=0", f"HEAD..{proposal.branch}").splitlines()
    assert [line for line in changed if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        "-  n_estimators: 3 # few", "-  learning_rate: 0.05", "+  n_estimators: 9 # few", "+  learning_rate: 0.3",
    ]  # fmt: skip
    assert "- learning_rate: 0.05 becomes 0.3" in git(project.root, "log", "-1", "--format=%B", proposal.branch)
    assert git(project.root, "status", "--porcelain") == ""
    assert (proposal.is_new, better.propose_better(project, result).is_new) == (True, False)


def test_what_is_in_no_commit_is_not_proposed(committed: tuple[Project, SearchResult]) -> None:
    project, result = committed
    params = project.root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("high: 12", "high: 13"), "utf-8")

    with pytest.raises(MlopsError, match=r"params.yaml has changes that are in no commit"):
        better.propose_better(project, result)
