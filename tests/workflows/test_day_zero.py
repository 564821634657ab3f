"""The first push of a fresh project: nothing is configured, everything is green, and says what it left out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from actions import assert_green, declared
from answers import Answers
from company import open_shop, runner_for
from forge import forge
from running import prepare

#: What waits for an engine, a store or a machine, by the beginning of its name.
WAITS = (
    "Log in",
    "Install cosign",
    "Send the data",
    "Deploy ",
    "Write down",
    "Keep the evidence",
    "Judge",
    "Propose",
    "Publish",
    "Serve",
)


@pytest.mark.parametrize(
    "answers",
    [{}, {"size": "small"}, {"size": "regulated", "target": "compose", "image": "acme/flights"}],
    ids=["standard", "small", "regulated"],
)
def test_the_first_runs_are_green_and_say_what_is_missing(
    answers: Answers, render: Callable[..., Path], tmp_path: Path
) -> None:
    """Without Docker, without a secret and without a variable."""
    project = prepare(render(**answers))
    (tmp_path / "forge").mkdir()
    with forge(tmp_path / "forge") as there:
        open_shop(project, there)
        runner = runner_for(project, there, tmp_path / "runs")
        train, deploy = runner.run("train.yml"), runner.run("deploy.yml")
        monitor = runner.run("monitor.yml", "schedule")
        rollback = runner.run("rollback.yml", "workflow_dispatch", inputs={"environment": "production"})

    assert_green(train, ready(project.root, "train.yml", "train"), skipped={"release", "propose"})
    assert_green(deploy, ready(project.root, "deploy.yml", "staging", "production"))
    assert_green(monitor, ready(project.root, "monitor.yml", "monitor"), skipped={"retrain"})
    assert_green(rollback, ready(project.root, "rollback.yml", "rollback"))
    assert "| registry | not yet | needs the variable MLFLOW_TRACKING_URI" in train.summary
    assert "| data | not yet | needs a remote that jobs reach" in train.summary
    for run in (deploy, monitor, rollback):
        assert "| machine | not yet | needs the variables DEPLOY_RUNNER and MLOPS_STATE" in run.summary
    assert ("| engine | not yet | needs Docker" in train.summary) == (answers.get("size") != "small")
    assert "| roc_auc |" in train.summary
    assert there.branches("acme/flight-delays") == {"main"}


def ready(root: Path, workflow: str, *jobs: str) -> dict[str, list[str]]:
    """The steps that need nothing."""
    found = declared(root / ".github" / "workflows" / workflow)
    return {job: [step for step in found[job] if not step.startswith(WAITS)] for job in jobs}
