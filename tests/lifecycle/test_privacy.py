"""What a deployed server writes down, and what the monitor makes of it."""

import json
import re
from typing import Any

import pytest
from running import RunningProject

LOG = ".mlops/predictions/staging"


def lines(project: RunningProject) -> list[dict[str, Any]]:
    """What the log of staging holds."""
    files = sorted((project.root / LOG).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines() if line]


def hide(project: RunningProject, rules: str) -> None:
    """Set another rule for what the log may hold."""
    policy = project.root / "policy.yaml"
    text, found = re.subn(r"\n  fields: {.*}", f"\n  fields: {rules}", policy.read_text("utf-8"))
    assert found == 1
    policy.write_text(text, encoding="utf-8")
    project.commit("Change what the log holds")


@pytest.fixture
def asked(trained_project: RunningProject) -> RunningProject:
    """A server that hashes one column and drops another, and has been asked about 250 flights."""
    hide(trained_project, "{flight: hash, dest: drop}")
    trained_project.release("staging")
    for flight in trained_project.flights(250):
        assert trained_project.request("POST", "/predict", flight).status == 200
    trained_project.mlops("stop", "staging")
    return trained_project


def test_hidden_columns_never_reach_the_disk_and_the_rest_is_watched(asked: RunningProject) -> None:
    rows = [line["row"] for line in lines(asked)]
    written = b"".join(path.read_bytes() for path in (asked.root / LOG).iterdir())

    monitored = asked.mlops("monitor", "staging", "--dry-run", check=False)

    assert len(rows) == 251  # with the deployment's own question, which nobody judges
    assert b'"dest"' not in written
    assert re.search(rb'"flight":(?!"hmac:[0-9a-f]{32}")', written) is None
    assert "not compared: flight, hashed in the log by policy.yaml" in monitored.stdout
    assert "skew ok: 250 logged rows, replayed through training" in monitored.stdout
    assert asked.mlops("privacy").stdout.endswith("nothing that looks like personal data\n")


def test_a_score_that_the_champion_does_not_give_calls_for_action(asked: RunningProject) -> None:
    (file,) = (asked.root / LOG).glob("*.jsonl")
    whole = file.read_text("utf-8")
    last = json.loads(whole.splitlines()[-1])
    file.write_text(whole.replace(f'"score":{last["score"]}', '"score":0.99'), encoding="utf-8")

    monitored = asked.mlops("monitor", "staging", "--dry-run", check=False)

    assert monitored.exit_code == 3
    assert "act: score differs in" in monitored.stdout
    assert "next: find out what else answers there" in monitored.stdout
    assert "Skew skewed: score differs" in (asked.root / "reports/monitor-staging.html").read_text("utf-8")


def test_a_rule_for_a_column_that_no_request_holds_is_refused(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    hide(trained_project, "{passenger: drop}")

    for command in ("deploy", "monitor"):
        refused = trained_project.mlops(command, "staging", check=False)

        assert refused.exit_code == 1
        assert "policy.yaml, privacy.fields: there is no column passenger" in refused.stderr


def test_a_new_rule_holds_from_the_next_deployment_on(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    flight = trained_project.flights(1)[0]
    trained_project.request("POST", "/predict", flight)
    hide(trained_project, "{dest: drop}")

    trained_project.mlops("deploy", "staging")
    trained_project.request("POST", "/predict", flight)
    trained_project.mlops("stop", "staging")

    assert ["dest" in row for row in (line["row"] for line in lines(trained_project))] == [True, True, False, False]


def test_the_monitor_deletes_what_is_older_than_the_policy_keeps(asked: RunningProject) -> None:
    old = asked.root / LOG / "2013-09-01.host.1.jsonl"
    old.write_text("", encoding="utf-8")
    asked.edit("policy.yaml", "# keep_days: 365", "keep_days: 365")

    monitored = asked.mlops("monitor", "staging", check=False)

    assert "1 file of the log deleted, because of privacy.keep_days" in monitored.stdout
    assert not old.exists()
    assert len(lines(asked)) == 251


def test_personal_data_in_the_raw_data_is_found_before_it_is_trained_on(trained_project: RunningProject) -> None:
    code = (
        "import polars as pl; from pathlib import Path; Path('data/raw').mkdir();"
        "rows = pl.read_csv('data/sample/flights.csv.gz', infer_schema=False).head(100);"
        "note = pl.when(pl.int_range(pl.len()) == 41).then(pl.lit('S1234567D')).alias('note');"
        "rows.with_columns(note).write_csv('data/raw/flights.csv')"
    )
    trained_project.run("python", "-c", code)
    trained_project.edit("params.yaml", "data/sample/flights.csv.gz", "data/raw")

    found = trained_project.mlops("privacy", check=False)

    assert found.exit_code == 3
    assert "note: identity number (Singapore, NRIC or FIN) in 1 of 100 rows, first in row 42: S1***7D" in found.stdout
    assert "S1234567D" not in found.stdout
