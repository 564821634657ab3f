"""The first push of a fresh project: nothing is configured, everything is green, and says what it left out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from actions import assert_green, declared
from answers import Answers
from company import open_shop, runner_for
from forge import forge
from running import prepare


@pytest.mark.parametrize(
    "answers",
    [{}, {"size": "small"}, {"target": "compose", "image": "acme/flights"}],
    ids=["standard", "small", "compose"],
)
def test_the_first_push_is_green_and_says_what_is_missing(
    answers: Answers, render: Callable[..., Path], tmp_path: Path
) -> None:
    project = prepare(render(**answers))
    (tmp_path / "forge").mkdir()
    with forge(tmp_path / "forge") as there:
        open_shop(project, there)
        runner = runner_for(project, there, tmp_path / "runs")
        train, deploy = runner.run("train.yml"), runner.run("deploy.yml")

    assert_green(
        train,
        {"train": [step for step in steps(project.root, "train.yml", "train") if not step.startswith("Send the data")]},
        skipped={"release", "propose"},
    )
    connected = {name: steps(project.root, "deploy.yml", name)[:-1] for name in ("staging", "production")}
    assert_green(
        deploy, {name: [one for one in all_ if not one.startswith("Log in")] for name, all_ in connected.items()}
    )
    assert "| registry | not yet | needs the variable MLFLOW_TRACKING_URI" in train.summary
    assert "| data | not yet | needs a remote that jobs reach" in train.summary
    assert "| machine | not yet | needs the variables DEPLOY_RUNNER and MLOPS_STATE" in deploy.summary
    assert "| roc_auc |" in train.summary
    assert there.branches("acme/flight-delays") == {"main"}


def steps(root: Path, workflow: str, job: str) -> list[str]:
    return declared(root / ".github" / "workflows" / workflow)[job]
