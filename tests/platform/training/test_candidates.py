"""Candidates beside the present model: each on the same folds, whatever becomes of another or of the command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from rendering import commit, git
from slipway.base.errors import MlopsError
from slipway.pages.candidates_page import candidates_page
from slipway.proposals import better
from slipway.settings.project import Project
from slipway.training import candidates
from slipway.training.candidates_result import CandidatesResult, candidates_text
from slipway.training.tracking import connect, experiment, store_uri, translated

# MLflow's own, of its use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

CANDIDATES = """
candidates:
  stumps: {max_depth: 1, n_estimators: 2}
  impossible: {max_depth: -1}
  large: {n_estimators: 30, min_samples_split: 4}
"""


@pytest.fixture(scope="module")
def small(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository with three trees and three candidates, and a store of runs. Tests must not change it."""
    root = tmp_path_factory.mktemp("small") / "project"
    shutil.copytree(finished.root, root)
    path = root / "params.yaml"
    text = path.read_text("utf-8").replace("n_estimators: 150", "n_estimators: 3 # few")
    path.write_text(text.replace("n_estimators: 60", "n_estimators: 3 # few") + CANDIDATES, encoding="utf-8")
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("/.mlops/\n/data/\n/reports/*.html\n", encoding="utf-8")
    commit(root, "Begin")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(Project(root))
    return Project(root)


@pytest.fixture(scope="module")
def whole(small: Project, tmp_path_factory: pytest.TempPathFactory) -> CandidatesResult:
    """A comparison that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return candidates.run(copy(small, tmp_path_factory.mktemp("whole")), None, print)


def copy(project: Project, place: Path) -> Project:
    shutil.copytree(project.root, place / "project")
    return Project(place / "project")


def without_times(result: CandidatesResult) -> CandidatesResult:
    """Everything but how long it took."""
    rows = [msgspec.structs.replace(row, seconds=0.0) for row in result.candidates]
    return msgspec.structs.replace(result, candidates=rows)


def runs(project: Project) -> dict[str, str]:
    """The status of the run of each candidate, and of the one that holds them."""
    with translated(store_uri(project)):
        client = connect(project)
        place = experiment(project, client)
        (parent,) = client.search_runs([place], filter_string="tags.`mlops.candidates` != ''")
        inside = client.search_runs([place], filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    found = {run.info.run_name: run.info.status for run in inside if run.info.status != "KILLED"}
    assert len(found) == len([run for run in inside if run.info.status != "KILLED"])
    return found | {"all": parent.info.status}


RECORDED = {
    "present parameters": "FINISHED", "stumps": "FINISHED", "impossible": "FAILED", "large": "FINISHED",
    "all": "FINISHED",
}  # fmt: skip


@dataclass(frozen=True)
class Resumed:
    """A project in which a second start has finished what the first one began, and what the first one had kept."""

    project: Project
    kept: dict[Path, int]
    result: CandidatesResult


@pytest.fixture(scope="module")
def resumed(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """A comparison whose command was killed when it had told of the first candidate, and which was started again."""
    project = copy(small, tmp_path_factory.mktemp("resumed"))
    command = [sys.executable, "-m", "slipway", "candidates"]
    with subprocess.Popen(command, cwd=project.root, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        assert any(line.startswith("candidates: stumps: ") for line in started.stderr)
        os.kill(started.pid, signal.SIGKILL)
    assert started.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in (project.state / "candidates").iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Resumed(project, kept, candidates.run(project, None, print))


def test_a_comparison_that_was_killed_goes_on_and_finds_what_it_would_have_found(
    whole: CandidatesResult, resumed: Resumed
) -> None:
    """The second start measures nothing again that the first has finished."""
    assert 2 <= len(resumed.kept) < 5
    assert {path: path.stat().st_mtime_ns for path in resumed.kept} == resumed.kept
    assert without_times(resumed.result) == without_times(whole)
    assert runs(resumed.project) == RECORDED


def test_each_candidate_stands_beside_the_present_and_one_that_fails_is_told(whole: CandidatesResult) -> None:
    rows = {row.name: row for row in whole.candidates}
    table = candidates_text(whole).splitlines()

    assert [*rows] == ["large", "present", "stumps", "impossible"]
    assert rows["large"].changes == {"n_estimators": 30, "min_samples_split": 4}
    assert rows["large"].gain is not None
    assert rows["large"].gain.low < rows["large"].gain.mean < rows["large"].gain.high
    assert rows["stumps"].gain is not None
    assert rows["stumps"].gain.mean < 0
    assert all(row.seconds > 0 and row.others for row in whole.candidates[:3])
    assert rows["impossible"].mean is None
    assert "'max_depth' parameter" in rows["impossible"].reason
    assert [line.split()[0] for line in table[1:5]] == [*rows]
    assert f"failed: impossible: {rows['impossible'].reason.rstrip('.')}" in table
    assert table[-1].startswith("candidate large, the best of 3, is better by ")
    assert table[-1].endswith("measured anew on 7 other folds and with another seed")


def test_the_page_has_the_table_and_what_each_candidate_sets(whole: CandidatesResult) -> None:
    page = candidates_page(whole)

    assert page.count("<tr><th>large") == page.count("<tr><th>stumps") == 2
    assert "n_estimators: 30, min_samples_split: 4" in page
    assert "impossible: the model in model.py cannot learn" in page
    assert "<script" not in page
    assert page == candidates_page(msgspec.convert(msgspec.to_builtins(whole), CandidatesResult))


def test_the_test_rows_are_not_read(small: Project, whole: CandidatesResult, tmp_path: Path) -> None:
    """The rows before the split, and what was made of the test rows, are gone as well."""
    project = copy(small, tmp_path)
    shutil.rmtree(project.root / "model")
    (project.root / "data" / "valid.parquet").unlink()
    (project.root / "data" / "test.parquet").write_bytes(b"no rows")

    assert without_times(candidates.run(project, None, print)) == without_times(whole)


def test_what_is_better_by_more_than_chance_is_proposed(resumed: Resumed) -> None:
    """Values that `model` has become others, those that it lacks are added, and nothing else changes."""
    root = resumed.project.root

    branch = better.propose_better(resumed.project, resumed.result).branch

    changed = git(root, "diff", "--unified=0", f"HEAD..{branch}").splitlines()
    assert [line for line in changed if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        "-  n_estimators: 3 # few", "+  n_estimators: 30 # few", "+  min_samples_split: 4",
    ]  # fmt: skip
    message = git(root, "log", "-1", "--format=%B", branch)
    assert message.startswith("Use the candidate large\n\n- n_estimators: 3 becomes 30\n- min_samples_split: nothing ")


def test_present_parameters_that_fail_are_the_end(small: Project, tmp_path: Path) -> None:
    project = copy(small, tmp_path)
    project.params.model["max_depth"] = -2

    with pytest.raises(MlopsError, match=r"the present parameters cannot be measured: the model in model.py cannot"):
        candidates.run(project, None, print)


@pytest.mark.parametrize(
    ("named", "metric", "problem"),
    [
        ({}, None, "params.yaml names no candidates"),
        ({"present": {"n_estimators": 2}}, None, "params.yaml, candidates.present: so the present model is called"),
        ({"same": {"n_estimators": 3}}, None, "params.yaml, candidates.same: these are the values that model has"),
        ({"other": {"n_estimators": 2}}, "los", "no gate in policy.yaml says whether los is better high or low"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    small: Project, tmp_path: Path, named: dict[str, dict[str, int]], metric: str | None, problem: str
) -> None:
    project = Project(small.root)
    project.params.candidates = named

    with pytest.raises(MlopsError) as refused:
        candidates.run(project, metric, print)

    assert refused.value.problem.startswith(problem)


def test_another_seed_metric_or_other_rows_keep_nothing(small: Project, tmp_path: Path) -> None:
    project = copy(small, tmp_path)
    before = [one.key for one in candidates._candidates(project, 3, "roc_auc")]

    assert [one.key for one in candidates._candidates(project, 4, "roc_auc")] != before
    assert not {one.key for one in candidates._candidates(project, 3, "brier")} & {*before}
    project.params.seed += 1
    assert not {one.key for one in candidates._candidates(project, 3, "roc_auc")} & {*before}
    project.params.seed -= 1
    assert [one.key for one in candidates._candidates(project, 3, "roc_auc")] == before
    (project.root / "data" / "train.parquet").write_bytes(b"others")
    assert not {one.key for one in candidates._candidates(project, 3, "roc_auc")} & {*before}
