"""What becomes of the model and the server of an earlier release when a project's platform is a new one."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import state
from rendering import files, git, history, releases
from running import TIMEOUT_S, RunningProject, prepare, train

#: The release whose servers and bundles know least.
OLDEST = next(iter(releases()))

#: What an update leaves as it was: where things run, and what was made and trained with.
KEPT = ("deploy/environments/", "dvc.lock", "uv.lock", "reports/", ".dvc/config", ".copier-answers.yml")


@pytest.fixture
def of_old(tmp_path: Path) -> Iterator[RunningProject]:
    """A project of the oldest release whose version 1 answers in staging."""
    (tmp_path / "template").mkdir()
    root = history(tmp_path / "template").render(tmp_path / "flights", OLDEST)
    git(root, "init", "--quiet")
    project = train(prepare(root))
    project.release("staging")
    yield project
    project.stop()


def bring_up_to_date(project: RunningProject, fresh: Path) -> None:
    """Put the files of a new project in the place of the old ones, as an update does where nobody has edited any."""
    for name in git(project.root, "ls-files").splitlines():
        if not name.startswith(KEPT):
            (project.root / name).unlink()
    for name, path in files(fresh).items():
        if not name.startswith(KEPT):
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, project.root / name)
    (project.root / "uv.lock").unlink()
    subprocess.run(["uv", "sync", "--quiet"], cwd=project.root, check=True, timeout=TIMEOUT_S)
    project.commit("Update the template")


def test_what_runs_goes_on_until_it_is_stopped_and_its_model_can_be_gone_back_to(
    of_old: RunningProject, render: Callable[..., Path]
) -> None:
    row = of_old.flights(1)[0]
    before = of_old.request("POST", "/predict", row).body
    bring_up_to_date(of_old, render())
    runs = state(of_old)

    again = of_old.mlops("deploy", "staging", check=False)
    assert of_old.request("POST", "/predict", row).body["late"] == before["late"]
    assert state(of_old)["worker"] == runs["worker"]

    of_old.train_another(trees=20)
    of_old.mlops("promote", "staging")
    git(of_old.root, "merge", "--quiet", "--no-edit", "promote/staging-v2")
    refused = of_old.mlops("deploy", "staging", check=False)
    still = of_old.request("GET", "/version").body["version"]
    of_old.mlops("stop", "staging")
    of_old.mlops("deploy", "staging")
    newer = of_old.request("GET", "/version").body["version"]

    back = of_old.mlops("rollback", "staging")

    assert again.exit_code == 0, again.stderr
    assert refused.exit_code == 1
    assert (
        "error: the servers of staging belong to a platform that cannot start the code of version 2" in refused.stderr
    )
    assert "next: mlops stop staging, then mlops deploy staging" in refused.stderr
    assert (still, newer) == (1, 2)
    assert "names version 1 again" in back.stdout
    after = of_old.request("POST", "/predict", row).body
    assert (after["late"], after["model"]) == (before["late"], before["model"])
