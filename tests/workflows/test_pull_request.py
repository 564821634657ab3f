"""A pull request: a good change is green and shows its metrics, a bad one is red in the job that is there for it."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actions import ELSEWHERE, WorkflowRun, assert_green, declared
from company import REPOSITORY, open_shop, runner_for
from forge import Forge, forge
from hub import BOT
from rendering import git
from running import RunningProject, prepare

edge = pytest.mark.edge
pytestmark = pytest.mark.xdist_group("pull requests")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with forge(tmp_path_factory.mktemp("forge")) as made:
        yield made


@pytest.fixture(scope="module")
def project(render: Callable[..., Path], there: Forge) -> RunningProject:
    """A project whose main has metrics, as after a first training."""
    made = prepare(render())
    made.mlops("pipeline")
    made.commit("Train the first model")
    open_shop(made, there)
    return made


def play(
    project: RunningProject,
    there: Forge,
    folder: Path,
    change: str,
    options: str = "",
    event: str = "pull_request",
    job: str = "",
) -> WorkflowRun:
    """Commit what changed on a branch and open a pull request for it; main stays as it was."""
    git(project.root, "switch", "--quiet", "--create", change)
    try:
        project.commit(change)
        git(project.root, "push", "--quiet", str(there.folder / REPOSITORY), change)
        runner = runner_for(project, there, folder)
        runner = dataclasses.replace(runner, env=dict(runner.env) | {"PYTEST_ADDOPTS": options})
        opened = {"title": change, "head": change, "base": "main"}
        _, pull = there.answer("POST", f"/repos/{REPOSITORY}/pulls", opened, "ada")
        head = pull["head"] | {"repo": {"full_name": REPOSITORY}}
        payload = {"pull_request": pull | {"head": head}} if event == "pull_request" else {}
        return runner.run("pull-request.yml", event, payload=payload, job=job)
    finally:
        git(project.root, "switch", "--quiet", "main")


@edge("E1", "CI/CD ↔ experimentation")
def test_a_good_change_is_green_and_shows_its_metrics(project: RunningProject, there: Forge, tmp_path: Path) -> None:
    """Started by name, as for a pull request that a job has opened."""
    project.edit("params.yaml", "n_estimators: ", "n_estimators: 1")

    hub = there.hubs[REPOSITORY]
    hub.comments.append({"id": 0, "issue": len(hub.pulls) + 1, "body": "Thank you!", "user": {"login": BOT}})

    run = play(project, there, tmp_path, "more-trees", options="-k contract", event="workflow_dispatch")

    found = declared(project.root / ".github" / "workflows" / "pull-request.yml")
    assert_green(run, {job: [step for step in steps if step not in ELSEWHERE] for job, steps in found.items()})
    assert "| metric | origin/main | here | change |" in run.summary
    (line,) = [line for line in run.summary.splitlines() if line.startswith("| roc_auc |") and "at least" not in line][
        :1
    ]
    assert line.count("0.") == 3
    thanks, metrics = hub.comments
    assert thanks["body"] == "Thank you!"
    assert (metrics["issue"], metrics["user"]["login"]) == (thanks["issue"], BOT)
    assert metrics["body"].startswith("<!-- metrics of the pipeline -->\n")
    assert line in metrics["body"]


@edge("E1", "CI/CD ↔ experimentation", fault="training makes a model that is too weak")
def test_a_bad_change_is_red_where_it_is_bad(project: RunningProject, there: Forge, tmp_path: Path) -> None:
    (project.root / "src" / "flight_delays" / "ugly.py").write_text("import os\n", encoding="utf-8")
    project.edit("policy.yaml", "min: 0.68", "min: 0.99")

    hub = there.hubs[REPOSITORY]
    before = "<!-- metrics of the pipeline -->\nof the run before"
    hub.comments[:] = [{"id": 0, "issue": len(hub.pulls) + 1, "body": before, "user": {"login": BOT}}]

    run = play(project, there, tmp_path, "ugly-and-weak")

    lint, pipeline = "Lint, types, secrets and workflows", "Train on the data that is in Git, and compare with main"
    assert set(run.failures) == {("check", lint), ("pipeline", pipeline)}
    assert "roc_auc" in run.jobs["pipeline"].log
    assert "| **refused** |" in run.summary
    assert run.jobs["comment"].result == "success", run.log
    (comment,) = hub.comments
    assert "| **refused** |" in comment["body"]


def test_a_change_that_breaks_a_test_is_red(project: RunningProject, there: Forge, tmp_path: Path) -> None:
    project.edit("src/flight_delays/contract.py", 'time="departs"', "time=None")

    run = play(project, there, tmp_path, "forget-the-time", options="-x -k contract", job="check")

    assert ("check", "Test") in run.failures
