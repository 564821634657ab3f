"""What the monitor's `act` leads to: a branch that a person reviews, never a change of what runs."""

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from clients import say_the_same_a_week_ago, wait_until
from rendering import git
from running import Result, RunningProject

edge = pytest.mark.edge

CONTRACT = "src/flight_delays/contract.py"


def branch_in(result: Result) -> str:
    found = re.search(r"in branch (\S+?)(, as before)?$", result.stdout, flags=re.MULTILINE)
    assert found is not None, result.stdout
    return found[1]


def changed_lines(project: RunningProject, branch: str) -> list[str]:
    """What a branch adds to and takes from the files of main."""
    shown = git(project.root, "diff", "--unified=0", "HEAD", branch).splitlines()
    return [line for line in shown if line[0] in "+-" and not line.startswith(("+++", "---"))]


def next_step(project: RunningProject, *arguments: str) -> str:
    """The monitor's last line, which is a command to paste."""
    result = project.mlops("monitor", "staging", *arguments, check=False)
    assert result.exit_code == 3, result.stdout
    return result.stdout.splitlines()[-1].removeprefix("next: ")


def paste(project: RunningProject, command: str) -> Result:
    return project.run("bash", "-c", command)


def refused(project: RunningProject) -> int:
    lines = [
        json.loads(line)
        for path in (project.root / ".mlops/refused/staging").glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    return sum(line["times"] for line in lines)


def send(project: RunningProject, row: dict[str, Any], times: int) -> set[int]:
    before = refused(project)
    statuses = {project.request("POST", "/predict", row).status for _ in range(times)}
    if statuses == {422}:
        wait_until(lambda: refused(project) == before + times)
    return statuses


@edge("E15", "monitoring → data-input requirements")
def test_a_new_category_becomes_a_proposed_contract_that_is_answered_once_it_is_merged(
    trained_project: RunningProject,
) -> None:
    trained_project.release("staging")
    row = trained_project.flights(1)[0] | {"carrier": "ZZ"}

    assert send(trained_project, row, 50) == {422}
    report = json.loads(trained_project.mlops("monitor", "staging", "--json", check=False).stdout)
    told = next_step(trained_project)
    before = git(trained_project.root, "status", "--porcelain")
    proposed = paste(trained_project, told)
    again = paste(trained_project, told)

    assert report["verdict"] == "act"
    assert report["next_step"].startswith("mlops widen staging --since ")
    assert [(one["field"], one["rule"], one["times"], one["values"]) for one in report["refused"]] == [
        ("carrier", "category", 50, ["'ZZ' 50 times"])
    ]
    assert "carrier is none of its categories: 50 refused" in (trained_project.root / report["page"]).read_text("utf-8")
    branch = branch_in(proposed)
    removed, added = changed_lines(trained_project, branch)
    assert added[1:] == removed[1:].replace('"YV"]', '"YV", "ZZ"]')
    assert git(trained_project.root, "diff", "--name-only", "HEAD", branch).split() == [CONTRACT]
    assert "Accept more values of carrier" in git(trained_project.root, "log", "-1", "--format=%B", branch)
    assert (branch_in(again), "proposed before" in again.stdout) == (branch, True)
    assert git(trained_project.root, "status", "--porcelain") == before
    assert send(trained_project, row, 1) == {422}

    git(trained_project.root, "merge", "--quiet", branch)
    trained_project.mlops("pipeline")
    trained_project.commit("Train with the wider contract")
    trained_project.mlops("register")
    trained_project.release("staging")

    assert send(trained_project, row, 1) == {200}
    assert trained_project.request("GET", "/version").body["version"] == 2
    after = json.loads(trained_project.mlops("monitor", "staging", "--json", check=False).stdout)
    assert ["contract.py accepts it by now" in one["sentence"] for one in after["refused"]] == [True]
    assert "widen" not in after["next_step"]
    assert trained_project.run("ruff", "format", "--check", CONTRACT).exit_code == 0


@edge("E15", "monitoring → data-input requirements", fault="the servers keep no record of what they refuse")
def test_refusals_without_a_record_are_no_reason_for_a_change(trained_project: RunningProject) -> None:
    (trained_project.root / ".mlops" / "refused").write_text("in the way of the folder", encoding="utf-8")
    trained_project.release("staging")
    row = trained_project.flights(1)[0] | {"carrier": "ZZ"}

    statuses = {trained_project.request("POST", "/predict", row).status for _ in range(50)}
    result = trained_project.mlops("widen", "staging", check=False)

    assert statuses == {422}
    assert (result.exit_code, result.stdout) == (
        3, "nothing to propose of requests to staging: contract.py takes every value\n"
    )  # fmt: skip
    assert "widen/" not in git(trained_project.root, "branch", "--list")
    assert trained_project.request("POST", "/predict", row | {"carrier": "B6"}).status == 200


def test_what_cannot_be_proposed_is_said_and_makes_no_branch(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    good = trained_project.flights(1)[0]
    for wrong in ({"dest": "somewhere"}, {"distance": "far"}, {"origin": None}):
        assert send(trained_project, good | wrong, 20) == {422}
    assert send(trained_project, good | {"carrier": "seen too seldom"}, 19) == {422}

    result = trained_project.mlops("widen", "staging", check=False)

    assert result.exit_code == 3
    assert [line.split(" ", 3)[2] for line in result.stdout.splitlines()[:-1]] == [
        "dest", "distance", "origin", "carrier"
    ]  # fmt: skip
    assert "origin is missing (20 times): a row is found by it, so it cannot be missing" in result.stdout
    assert "widen/" not in git(trained_project.root, "branch", "--list")
    recorded = "".join(path.read_text("utf-8") for path in (trained_project.root / ".mlops/refused").rglob("*.jsonl"))
    assert "far" not in recorded


#: New flights: of a carrier, a distance and a month that the contract and the model have not seen.
NEW_ROWS = """
import polars as pl
rows = pl.read_csv("data/sample/flights.csv.gz", infer_schema=False)
new = rows.tail(40).with_columns(
    carrier=pl.lit("ZZ"), distance=pl.lit("7000"), departs=pl.col("departs").str.replace("2013-", "2014-")
)
pl.concat([rows, new]).write_csv("data/new.csv")
"""


def test_raw_rows_that_the_pipeline_refuses_become_a_proposed_contract(trained_project: RunningProject) -> None:
    trained_project.run("python", "-c", NEW_ROWS)
    trained_project.edit("params.yaml", "data/sample/flights.csv.gz", "data/new.csv")
    trained_project.commit("Add flights")
    refusal = trained_project.mlops("pipeline", check=False)

    proposed = trained_project.mlops("widen")

    assert "mlops widen" in refusal.stderr
    branch = branch_in(proposed)
    removed_carriers, removed_distance, carriers, distance = sorted(
        changed_lines(trained_project, branch), key=lambda line: (line[0] == "+", "Literal" not in line)
    )
    assert carriers[1:] == removed_carriers[1:].replace('"YV"]', '"YV", "ZZ"]')
    assert distance[1:] == removed_distance[1:].replace("le=6000", "le=7000")
    git(trained_project.root, "merge", "--quiet", branch)
    assert trained_project.mlops("pipeline").exit_code == 0


def replay(project: RunningProject, months: Sequence[int], origins: Collection[str] = ("EWR", "JFK", "LGA")) -> None:
    """Answer a thousand flights of some months and airports, in each of two weeks."""
    project.release("staging")
    rows = [row for row in project.flights(5000, months) if row["origin"] in origins][:1000]
    assert project.request("POST", "/predict", {"rows": rows}).status == 200
    say_the_same_a_week_ago(project.root / ".mlops/predictions/staging", len(rows) + 1)


def environments(project: RunningProject) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in (project.root / "deploy/environments").glob("*.yaml")}


@edge("E16", "monitoring → retraining")
def test_drift_becomes_a_candidate_and_no_promotion(trained_project: RunningProject) -> None:
    replay(trained_project, LEARNED, origins=["JFK"])
    before = environments(trained_project)
    told = next_step(trained_project)

    branch = branch_in(paste(trained_project, told))
    again = paste(trained_project, told)

    assert branch == "retrain/2013-12-31"
    assert "in branch retrain/2013-12-31, as before" in again.stdout
    assert changed_lines(trained_project, branch) == [
        '-  train_until: "2013-07-01"',
        '-  test_until: "2013-09-01"',
        '+  train_until: "2013-10-31"',
        '+  test_until: "2014-01-01"',
    ]
    message = git(trained_project.root, "log", "-1", "--format=%B", branch)
    assert f"The monitor found: {told.partition('--finding ')[2].strip(chr(39))}" in message
    assert len(trained_project.versions()) == 1

    git(trained_project.root, "switch", "--quiet", branch)
    trained_project.mlops("pipeline")
    trained_project.commit("Train on newer rows")
    trained_project.mlops("register")

    assert len(trained_project.versions()) == 2
    assert environments(trained_project) == before
    assert trained_project.request("GET", "/version").body["version"] == 1
    assert trained_project.mlops("audit").exit_code == 0  # the alias of staging is still that of its champion


#: The months that the model has learned from, so that no column moves.
LEARNED = range(1, 7)

#: What the airport publishes of every flight: that it was on time, or what really happened.
TELL = """
import sys
from pathlib import Path
import polars as pl

arrivals = pl.read_parquet("data/valid.parquet").select("departs", "carrier", "flight", "origin", "arr_delay")
Path("data/labels").mkdir()
arrivals.with_columns(arr_delay=eval(sys.argv[1], {"pl": pl})).write_csv("data/labels/arrivals.csv")
"""


@edge("E16", "monitoring → retraining")
def test_labels_that_contradict_the_model_become_a_candidate_though_no_column_moves(
    trained_project: RunningProject,
) -> None:
    replay(trained_project, LEARNED)
    trained_project.run("python", "-c", TELL, "pl.lit(0)")
    report = json.loads(trained_project.mlops("monitor", "staging", "--json", check=False).stdout)
    told = next_step(trained_project)

    assert {one["verdict"] for one in report["columns"]} == {"ok"}
    assert (report["verdict"], report["concept"]["state"]) == ("act", "moved")
    assert re.match(r"late was true for 0\.0 % of 1,000 labelled answers, 2\d\.\d % were expected", report["summary"])
    branch = branch_in(paste(trained_project, told))
    assert report["summary"] in git(trained_project.root, "log", "-1", "--format=%B", branch)
    assert len(trained_project.versions()) == 1


@edge("E16", "monitoring → retraining", fault="no label says that the model is wrong")
@pytest.mark.parametrize(
    ("happened", "state"),
    [("pl.col('arr_delay')", "ok"), ("pl.when(pl.col('arr_delay') > 15).then('arr_delay')", "unknown")],
    ids=["all is as it was", "only late flights have a label"],
)
def test_what_labels_do_not_show_makes_no_candidate(trained_project: RunningProject, happened: str, state: str) -> None:
    replay(trained_project, LEARNED)
    trained_project.run("python", "-c", TELL, happened)

    report = json.loads(trained_project.mlops("monitor", "staging", "--json").stdout)

    assert (report["verdict"], report["concept"]["state"]) == ("ok", state)
    assert "retrain" not in report["next_step"]


@edge("E16", "monitoring → retraining", fault="the candidate is below a limit")
def test_a_candidate_below_a_limit_is_not_registered(trained_project: RunningProject) -> None:
    trained_project.edit("policy.yaml", "min: 0.68", "min: 0.99")
    trained_project.commit("Ask for more than there is")
    branch = branch_in(trained_project.mlops("retrain"))
    git(trained_project.root, "switch", "--quiet", branch)

    judged = trained_project.mlops("pipeline", check=False)
    trained_project.commit("Train on newer rows")
    result = trained_project.mlops("register", check=False)

    assert (judged.exit_code, result.exit_code) == (3, 3)
    assert "the gate asks for at least 0.99" in result.stderr
    assert len(trained_project.versions()) == 1


def test_nothing_newer_makes_no_branch(trained_project: RunningProject) -> None:
    git(trained_project.root, "merge", "--quiet", branch_in(trained_project.mlops("retrain")))

    result = trained_project.mlops("retrain", check=False)

    assert result.exit_code == 3
    assert "there is nothing newer to learn from: the newest raw row is of 2013-12-31" in result.stderr
    assert git(trained_project.root, "branch", "--list").split() == ["*", "main", "retrain/2013-12-31"]


@pytest.mark.parametrize("change", ["params.yaml", "data/sample/more.csv"])
def test_what_is_in_no_commit_is_in_no_proposal(trained_project: RunningProject, change: str) -> None:
    trained_project.edit("params.yaml", "data/sample/flights.csv.gz", "data/sample")
    trained_project.commit("Read the whole folder")
    with (trained_project.root / change).open("a", encoding="utf-8") as file:
        file.write("# more\n" if change == "params.yaml" else "departs\n2014-02-01T10:00\n")

    result = trained_project.mlops("retrain", check=False)

    assert result.exit_code == 1
    assert f"{change} has changes that are in no commit" in result.stderr
    assert "retrain/" not in git(trained_project.root, "branch", "--list")


def test_raw_data_that_only_the_remote_has_is_fetched(trained_project: RunningProject) -> None:
    raw = trained_project.root / "data" / "raw"
    raw.mkdir()
    (trained_project.root / "data/sample/flights.csv.gz").rename(raw / "flights.csv.gz")
    trained_project.run("dvc", "add", "--quiet", "data/raw/flights.csv.gz")
    trained_project.run("dvc", "push", "--quiet")
    trained_project.edit("params.yaml", "data/sample/flights.csv.gz", "data/raw/flights.csv.gz")
    trained_project.commit("Keep raw data in the remote")
    (raw / "flights.csv.gz").unlink()

    assert branch_in(trained_project.mlops("retrain")) == "retrain/2013-12-31"
