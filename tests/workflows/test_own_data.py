"""Data behind a pointer, as the page on own data has it: no job is red for want of a credential."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import polars as pl
from actions import ELSEWHERE, assert_green, declared
from company import open_shop, runner_for
from forge import forge
from running import RunningProject, prepare

WHOLE, PART = "data/sample/flights.csv.gz", "data/sample/rows.csv"
RAW = "data/raw/flights.csv"


def put_own_data_in(project: RunningProject) -> None:
    """What the page says: raw files to DVC, the example out, and some rows stay in Git."""
    rows = pl.read_csv(project.root / WHOLE, infer_schema=False)
    (project.root / "data" / "raw").mkdir()
    rows.write_csv(project.root / RAW)
    rows.gather_every(5).write_csv(project.root / PART)
    project.run("dvc", "add", "--quiet", RAW)
    for path in (WHOLE, "tests/test_flights.py"):
        (project.root / path).unlink()
    project.edit("params.yaml", f"source: {WHOLE}", f"source: data/raw\n  sample: {PART}")
    project.commit("Put our own data in")


def test_a_change_from_a_fork_runs_on_the_sample_and_training_says_what_it_lacks(
    render: Callable[..., Path], tmp_path: Path
) -> None:
    project = prepare(render(size="small", data_remote="s3"))
    put_own_data_in(project)
    (tmp_path / "forge").mkdir()
    with forge(tmp_path / "forge") as there:
        open_shop(project, there)
        runner = runner_for(project, there, tmp_path / "runs")
        tested = dataclasses.replace(runner, env=dict(runner.env) | {"PYTEST_ADDOPTS": "-k shuffled"})
        fork = {"number": 7, "head": {"repo": {"full_name": "somebody/flight-delays"}}}
        change = tested.run("pull-request.yml", "pull_request", payload={"pull_request": fork})
        train = runner.run("train.yml")

    steps = declared(project.root / ".github" / "workflows" / "pull-request.yml")
    ran = {job: [step for step in steps[job] if step not in ELSEWHERE] for job in ("check", "pipeline", "advisories")}
    assert_green(change, ran, skipped={"comment"})
    assert "1 passed" in change.jobs["check"].log
    assert f"No data here: {RAW} is kept in the data remote" in change.summary
    assert f"| metric | on {PART} |" in change.summary
    steps = declared(project.root / ".github" / "workflows" / "train.yml")
    waits = ("Take the role", "Send the data")
    assert_green(
        train, {"train": [one for one in steps["train"] if not one.startswith(waits)]}, skipped={"release", "propose"}
    )
    assert "Nothing was trained. See docs/ci.md." in train.summary
    assert "| data | not yet | needs credentials for the bucket" in train.summary
