"""Training by workflow stops where a person's would: nothing is registered, sent or proposed that should not be."""

import dataclasses

import pytest
from actions import WorkflowRun, assert_red
from company import REPOSITORY, Company
from running import free_port

#: One after the other, and on the machine of the company.
pytestmark = pytest.mark.xdist_group("company")
edge = pytest.mark.edge

PIPELINE, REGISTER = "Run the pipeline and judge the model", "Send the data, register the model"

WRITES = 'from pathlib import Path\n\nPath("README.md").write_text("changed", "utf-8")\n\n\n'


def train(company: Company, **variables: str) -> WorkflowRun:
    """Run the workflow; whatever happens in it, no branch may come of it."""
    before = company.forge.branches(REPOSITORY)
    runner = dataclasses.replace(company.runner, variables=dict(company.runner.variables) | variables)
    run = runner.run("train.yml")
    assert company.forge.branches(REPOSITORY) == before
    assert run.jobs["release"].result == run.jobs["propose"].result == "skipped"
    return run


@edge("E11", "experimentation → tracking", fault="the tracking server is down, in a workflow")
def test_nothing_is_trained_that_cannot_be_tracked(company: Company) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"

    run = train(company, MLFLOW_TRACKING_URI=nobody)

    assert_red(run, "train", PIPELINE)
    assert f"the tracking store {nobody} does not answer" in run.jobs["train"].log


@edge("E9", "experimentation → model registry", fault="the model is below a limit, in a workflow")
def test_a_model_below_a_limit_is_not_proposed(company: Company) -> None:
    with company.changed("policy.yaml", "min: 0.68", "min: 0.99"):
        run = train(company)

    assert_red(run, "train", PIPELINE)
    assert "the gate asks for at least 0.99" in run.jobs["train"].log


@edge("E5", "version control ⋯ model registry", fault="training changes a file that is in Git, in a workflow")
def test_training_that_changes_the_code_registers_nothing(company: Company) -> None:
    with company.changed("src/flight_delays/model.py", "def build(", WRITES + "def build("):
        run = train(company)

    assert_red(run, "train", REGISTER)
    assert "cannot register from a tree with changes in 1 file: README.md" in run.jobs["train"].log


@edge("E3", "data storage ↔ model registry", fault="the registration does not learn the data's version, in a workflow")
def test_a_model_of_unknown_data_is_not_sent(company: Company) -> None:
    with company.changed("vendor/slipway/src/slipway/data/dvc.py", 'item["path"].startswith("data/")', "False"):
        run = train(company)

    assert_red(run, "train", REGISTER)
    assert "lineage is incomplete: nothing is known of data" in run.jobs["train"].log
