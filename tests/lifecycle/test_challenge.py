"""A challenger beside the champion: who answers, what is recorded, and what happens when it is slow or gone."""

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import asking, metric, recorded, state, two_answers_later, versions, wait_until
from running import RunningProject, give_free_ports

# One project for all tests of this module, so one worker runs them.
pytestmark = pytest.mark.xdist_group("challenge")


@pytest.fixture(scope="module")
def challenged(trained_twice: RunningProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProject]:
    """A project whose version 1 serves staging and whose version 2 challenges it. Each test chooses how."""
    project = trained_twice.copy(tmp_path_factory.mktemp("challenged") / "flights")
    give_free_ports(project.root)
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    project.commit("Listen on ports of its own, to as many clients as there are")
    project.release("staging", "--version", "1")
    yield project
    project.stop()


def challenge(project: RunningProject, *options: str) -> None:
    """Propose a challenger or its end, accept the proposal, and deploy it."""
    project.challenge("staging", *options)
    wanted = project.root / ".mlops/environments/staging/traffic.json"
    wait_until(lambda: wanted.is_file() or "--end" in options)
    wait_until(lambda: ("mlops_challenger_share" in project.text("/metrics")) == ("--end" not in options))


def test_a_canary_gets_its_share_and_each_answer_names_its_version(challenged: RunningProject) -> None:
    challenge(challenged, "--mode", "canary", "--share", "0.3")

    counted = Counter(versions(challenged, challenged.flights(300)))

    assert set(counted) == {1, 2}
    assert 60 <= counted[2] <= 120
    wait_until(lambda: len(recorded(challenged, "challenger")) == counted[2])
    assert {line["version"] for line in recorded(challenged, "challenger").values()} == {2}
    wait_until(lambda: metric(challenged, 'mlops_predictions_total{version="2"}') == counted[2])


def test_equal_values_of_the_key_meet_the_same_version(challenged: RunningProject) -> None:
    challenge(challenged, "--mode", "canary", "--share", "0.5", "--key", "dest")
    rows = challenged.flights(200)

    met: dict[str, set[int]] = {}
    for row, version in zip(rows, versions(challenged, rows), strict=True):
        met.setdefault(row["dest"], set()).add(version)

    assert all(len(seen) == 1 for seen in met.values())
    assert set.union(*met.values()) == {1, 2}


def test_a_shadow_scores_every_request_and_answers_none(challenged: RunningProject) -> None:
    challenge(challenged, "--mode", "shadow")
    rows = challenged.flights(50)

    answered = [challenged.request("POST", "/predict", row).body for row in rows]

    ids = {answer["id"] for answer in answered}
    assert {answer["model"]["version"] for answer in answered} == {1}
    wait_until(lambda: recorded(challenged, "shadow").keys() >= ids)
    wait_until(lambda: recorded(challenged, "champion").keys() >= ids)
    seen, shown = recorded(challenged, "shadow"), recorded(challenged, "champion")
    assert {seen[one]["version"] for one in ids} == {2}
    assert [seen[one]["row"] for one in ids] == [shown[one]["row"] for one in ids]
    assert any(seen[one]["score"] != shown[one]["score"] for one in ids)


def test_a_shadow_that_hangs_costs_copies_and_no_answer(challenged: RunningProject) -> None:
    """The queue has an end: what does not fit is dropped and counted."""
    challenge(challenged, "--mode", "shadow")
    (hanging,) = state(challenged)["challengers"]
    rows = challenged.flights(100) * 100

    os.kill(hanging, signal.SIGSTOP)
    statuses = {challenged.request("POST", "/predict", {"rows": rows}).status for _ in range(25)}
    dropped = metric(challenged, 'mlops_shadow_copies_total{outcome="dropped"}')
    os.kill(hanging, signal.SIGCONT)

    assert statuses == {200}
    assert 0 < dropped < 25


def test_no_request_fails_while_challengers_come_change_and_go(challenged: RunningProject) -> None:
    before = state(challenged)["workers"]

    with asking(challenged) as clients:
        challenge(challenged, "--mode", "canary", "--share", "1")
        two_answers_later(clients)
        challenge(challenged, "--mode", "shadow")
        two_answers_later(clients)
        challenge(challenged, "--end")
        two_answers_later(clients)
        challenge(challenged, "--mode", "canary", "--share", "0.5")
        two_answers_later(clients)

    assert [client.failures for client in clients] == [[], [], [], []]
    assert 2 in clients[0].versions
    assert state(challenged)["workers"] == before, "the champion was started again"


@pytest.mark.parametrize(
    ("harm", "outcome"),
    [pytest.param(signal.SIGKILL, "answered", id="killed"), pytest.param(signal.SIGSTOP, "slow", id="hanging")],
)
def test_a_challenger_in_trouble_fails_no_request(
    challenged: RunningProject, harm: signal.Signals, outcome: str
) -> None:
    """Where it does not answer, the champion does; a killed one comes back and answers again."""
    challenge(challenged, "--mode", "canary", "--share", "1")
    line = f'mlops_challenger_requests_total{{outcome="{outcome}"}}'
    (harmed,) = state(challenged)["challengers"]

    with asking(challenged) as clients:
        two_answers_later(clients)
        os.kill(harmed, harm)
        two_answers_later(clients)
        counted = metric(challenged, line)
        wait_until(lambda: metric(challenged, line) > counted)
        if harm is signal.SIGSTOP:
            os.kill(harmed, signal.SIGCONT)
        wait_until(lambda: clients[0].versions[-1] == 2)

    assert [client.failures for client in clients] == [[], [], [], []]
    assert 1 in clients[0].versions
    assert (state(challenged)["challengers"] == [harmed]) == (harm is signal.SIGSTOP)


def test_times_and_failures_of_both_versions_stand_beside_their_figures(challenged: RunningProject) -> None:
    def speeds() -> tuple[dict[str, Any], dict[str, Any]]:
        first, second = json.loads(challenged.mlops("compare", "--live", "staging", "--json").stdout)["speeds"]
        return first, second

    challenge(challenged, "--mode", "canary", "--share", "0.5")
    rows, before = challenged.flights(100), speeds()
    counted = Counter(versions(challenged, rows))
    wait_until(lambda: metric(challenged, 'mlops_prediction_seconds_count{version="2"}') >= counted[2])
    after = speeds()
    (hanging,) = state(challenged)["challengers"]
    os.kill(hanging, signal.SIGSTOP)
    alone = set(versions(challenged, rows[:30]))
    os.kill(hanging, signal.SIGCONT)
    missed = speeds()

    assert [one["version"] for one in after] == [1, 2]
    assert [new["answered"] - old["answered"] for new, old in zip(after, before, strict=True)] == [
        counted[1],
        counted[2],
    ]
    assert all(0 < one["p50"] <= one["p99"] <= 1 for one in after)
    assert alone == {1}
    assert missed[1]["failed"] > after[1]["failed"]
    assert missed[0]["failed"] == 0
    assert "since the server started" in challenged.mlops("compare", "--live", "staging").stdout


def test_a_challenger_that_cannot_start_is_told_and_the_champion_stays(challenged: RunningProject) -> None:
    """Its bundle has been damaged since it was fetched."""
    champion = state(challenged)["workers"]
    wish = json.loads((challenged.root / ".mlops/environments/staging/desired.json").read_text("utf-8"))
    model = Path(wish["challenger"]["run"]["bundle"]) / "model.onnx"
    whole = model.read_bytes()

    try:
        model.write_bytes(whole[:-1])
        complaint = start_again(challenged)
    finally:
        model.write_bytes(whole)

    assert "version 2 was not deployed to staging" in complaint
    assert "model.onnx was changed after the bundle was sealed; version 1 goes on serving" in complaint
    assert state(challenged)["workers"] == champion
    assert set(versions(challenged, challenged.flights(5))) == {1}
    challenged.mlops("deploy", "staging")


def start_again(project: RunningProject) -> str:
    """Ask the native target for another process of the challenger; returns what it complains about."""
    code = (
        "import sys; from msgspec.structs import replace;"
        "from slipway.delivery import target; from slipway.settings.project import Project;"
        "project, native = Project.find(), target.find('native'); found = native.status(project, 'staging');"
        "rival = replace(found.challenger, run=replace(found.challenger.run, commit='0' * 40));"
        "\ntry: native.switch(project, found.run, rival, timeout_s=20)"
        "\nexcept Exception as error: sys.exit(str(error))"
    )
    return project.run("python", "-c", code, check=False).stderr


def test_what_makes_no_sense_is_refused(challenged: RunningProject) -> None:
    def refusal(*options: str) -> str:
        return challenged.mlops("challenge", "staging", *options, check=False).stderr

    assert "error: version 1 is the champion of staging" in refusal("--version", "1")
    assert "error: no row has a column tail\n next: choose from departs, carrier" in refusal("--key", "tail")
    assert "error: --share 2 is no part of the traffic" in refusal("--share", "2")


def test_the_page_about_serving_does_what_it_says(challenged: RunningProject) -> None:
    """Shadow, canary, end: the commands of its blocks, one after the other."""
    page = (challenged.root / "vendor/slipway/docs/serving.md").read_text("utf-8")
    workers = state(challenged)["workers"]
    modes = []

    for block in re.findall(r"^```bash\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        subprocess.run(["bash", "-e", "-c", block], cwd=challenged.root, check=True, timeout=600)
        rival = state(challenged)["challenger"]
        modes.append(rival and rival["mode"])

    assert modes == ["shadow", "canary", None]
    assert state(challenged)["workers"] == workers
