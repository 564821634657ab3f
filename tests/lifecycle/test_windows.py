"""The monitor's verdict over several windows, on a server's own log."""

import json
from typing import Any

from clients import say_the_same_a_week_ago
from rendering import git
from replay import answer, tell
from running import RunningProject


def test_one_odd_week_is_watched_and_a_second_one_acted_on(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    rows = trained_project.flights_of_one_airport()
    assert trained_project.request("POST", "/predict", {"rows": rows}).status == 200
    trained_project.stop()

    first = trained_project.mlops("monitor", "staging", check=False)
    say_the_same_a_week_ago(trained_project.root / ".mlops/predictions/staging", len(rows))
    second = trained_project.mlops("monitor", "staging", check=False)
    alone = trained_project.mlops("monitor", "staging", "--since", "7d", check=False)

    assert (first.exit_code, second.exit_code, alone.exit_code) == (0, 3, 3)
    assert first.stdout.splitlines()[-2].startswith("watch: ")
    assert "origin is JFK in 100.0 % of rows" in first.stdout
    assert "1 of the last 4 windows ask to act, 2 are needed" in first.stdout
    assert second.stdout.splitlines()[-2].startswith("act: ")
    assert "2 of the last 4 windows ask to act" in second.stdout
    page = (trained_project.root / "reports" / "monitor-staging-history.html").read_text("utf-8")
    # What the deployment asks is not counted; the labels of the week before are due, and there are none.
    assert page.count("250 predictions by version 1.") == 2
    assert page.count("<td>0</td><td>0</td>") == 1
    assert page.count("<td>250</td><td>0</td>") == 1
    assert "unknown: 0 labelled predictions" in page


def test_labels_speak_in_autumn_and_in_december(trained_project: RunningProject) -> None:
    """As the page about the monitor says: fewer or more flights are late there than the half year before has taught."""
    trained_project.mlops("promote", "staging")
    git(trained_project.root, "merge", "--quiet", "--no-edit", "promote/staging-v1")
    answer(trained_project, "2013-07-01", "2014-01-01", {"champion": 1})
    tell(trained_project, "2014-01-01")

    def concept(until: str) -> dict[str, Any]:
        report = trained_project.mlops("monitor", "staging", "--until", until, "--json", check=False)
        found: dict[str, Any] = json.loads(report.stdout)["concept"]
        return found

    ends = ["2013-08-01", "2013-09-01", "2013-10-01", "2013-11-01", "2013-12-01", "2014-01-01"]
    july, august, september, october, november, december = map(concept, ends)

    assert {one["state"] for one in (july, august, october, november)} == {"ok"}
    assert {one["state"] for one in (september, december)} == {"moved"}
    assert september["sentence"] == "late was true for 13.2 % of 1,888 labelled answers, 21.4 % were expected"
    assert december["sentence"] == "late was true for 35.2 % of 1,794 labelled answers, 24.0 % were expected"
