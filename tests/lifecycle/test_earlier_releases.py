"""What becomes of the model and the server of an earlier release when a project's platform is a new one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import copier
import pytest
from clients import state
from rendering import git, history
from running import TIMEOUT_S, RunningProject, prepare, train


@pytest.fixture
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningProject]:
    """A project of the release that a test names, whose version 1 answers in staging."""
    (tmp_path / "template").mkdir()
    root = history(tmp_path / "template").render(tmp_path / "flights", request.param)
    git(root, "init", "--quiet")
    project = train(prepare(root))
    project.release("staging")
    yield project
    project.stop()


def bring_up_to_date(project: RunningProject) -> None:
    """Take the newest version with Copier, as docs/updating.md says."""
    copier.run_update(project.root, defaults=True, overwrite=True, quiet=True, unsafe=True)
    assert git(project.root, "ls-files", "--unmerged") == ""
    subprocess.run(["uv", "sync", "--quiet"], cwd=project.root, check=True, timeout=TIMEOUT_S)
    project.commit("Update the template")


@pytest.mark.parametrize("earlier", ["v0.1.0"], indirect=True)
def test_a_version_whose_bundle_holds_no_code_is_refused_and_what_runs_goes_on(
    earlier: RunningProject,
) -> None:
    row = earlier.flights(1)[0]
    before = earlier.request("POST", "/predict", row).body
    bring_up_to_date(earlier)

    refused = earlier.mlops("deploy", "staging", check=False)

    assert refused.exit_code == 1
    assert "holds no code\n next: mlops register makes a version that has it; promote that one" in refused.stderr
    after = earlier.request("POST", "/predict", row).body
    assert (after["late"], after["model"]) == (before["late"], before["model"])


@pytest.mark.parametrize("earlier", ["v0.3.0"], indirect=True)
def test_servers_of_an_earlier_release_are_stopped_by_hand_and_its_version_can_be_gone_back_to(
    earlier: RunningProject,
) -> None:
    row = earlier.flights(1)[0]
    before = earlier.request("POST", "/predict", row).body
    bring_up_to_date(earlier)
    runs = state(earlier)["worker"]
    earlier.train_another(trees=20)
    earlier.mlops("promote", "staging")
    git(earlier.root, "merge", "--quiet", "--no-edit", "promote/staging-v2")

    refused = earlier.mlops("deploy", "staging", check=False)
    went_on = earlier.request("GET", "/version").body["version"], state(earlier)["worker"]
    earlier.mlops("stop", "staging")
    earlier.mlops("deploy", "staging")
    newer = earlier.request("GET", "/version").body["version"]
    back = earlier.mlops("rollback", "staging")
    after = earlier.request("POST", "/predict", row).body

    assert refused.exit_code == 1
    assert "the servers of staging belong to a platform that cannot start the code of version 2" in refused.stderr
    assert "next: mlops stop staging, then mlops deploy staging" in refused.stderr
    assert went_on == (1, runs)
    assert newer == 2
    assert "names version 1 again" in back.stdout
    assert (after["late"], after["model"]) == (before["late"], before["model"])
