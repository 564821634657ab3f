"""Who may ask an environment: said in its file, reviewed, deployed, and changed without a lost request."""

from __future__ import annotations

from clients import asking, metric, recorded, state, two_answers_later, wait_until
from rendering import git
from running import RunningProject

ENVIRONMENT = "deploy/environments/staging.yaml"


def accept(project: RunningProject, command: str, name: str, *options: str) -> str:
    """Run a command of `mlops access`, accept its proposal and deploy it; returns the first line that it printed."""
    said = project.mlops("access", command, name, "staging", *options).stdout
    branch = next(line for line in said.splitlines() if " in branch " in line).rpartition(" ")[2]
    git(project.root, "merge", "--quiet", "--no-edit", branch)
    project.mlops("deploy", "staging")
    return said.splitlines()[0]


def test_tokens_are_added_and_removed_without_a_lost_request(twice_trained_project: RunningProject) -> None:
    """And a challenger, which only its champion can ask, knows who asked that."""
    project = twice_trained_project
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    project.commit("Let clients ask as fast as they can")
    project.release("staging", "--version", "1")
    row = project.flights(1)[0]
    assert project.request("POST", "/predict", row).status == 200

    first = accept(project, "add", "billing")

    assert project.request("POST", "/predict", row).status == 401
    assert project.request("POST", "/predict", row, token=first).status == 200
    assert first not in (project.root / ENVIRONMENT).read_text("utf-8")
    assert not [path for path in (project.root / ".mlops").rglob("*.json") if first in path.read_text("utf-8")]
    workers = state(project)["workers"]

    with asking(project, first) as old:
        second = accept(project, "add", "billing-2", "--until", "2999-12-31")
        with asking(project, second) as new:
            two_answers_later([*old, *new])
            for client in old:
                client.token = second
            two_answers_later(old)
            accept(project, "remove", "billing")
            two_answers_later([*old, *new])

    assert [client.failures for client in (*old, *new)] == [[]] * 8
    assert project.request("POST", "/predict", row, token=first).status == 401
    assert state(project)["workers"] == workers  # nothing was started again
    assert metric(project, 'mlops_requests_total{status="401"}') >= 2
    listed = project.mlops("access", "list", "staging").stdout
    assert "billing-2           until 2999-12-31" in listed
    assert listed.split()[-1] in {line.get("identity") for line in recorded(project, "champion").values()}
    probes = sorted(recorded(project, "probe").values(), key=lambda line: line["at"])
    assert ["identity" in line for line in probes] == [False, True, True, True]

    project.challenge("staging", "--version", "2", "--mode", "canary", "--share", "1")

    answer = project.request("POST", "/predict", row, token=second)
    assert (answer.status, answer.body["model"]["version"]) == (200, 2)
    assert project.request("POST", "/predict", row).status == 401
    wait_until(lambda: answer.body["id"] in recorded(project, "challenger"))
    assert recorded(project, "challenger")[answer.body["id"]]["identity"] == listed.split()[-1]
