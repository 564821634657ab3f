"""A model's whole way by workflows alone: trained, registered, signed, proposed, deployed, watched, rolled back."""

import json
import re

import pytest
from actions import WorkflowRun, assert_green, assert_red, declared
from clients import logged, say_the_same_a_week_ago, wait_until
from company import REPOSITORY, Company
from rendering import git

#: One company, and one story that goes on from test to test.
pytestmark = pytest.mark.xdist_group("company")


def steps(company: Company, workflow: str, *jobs: str) -> dict[str, list[str]]:
    """All steps of these jobs, as the workflow declares them; without an engine there is nothing to log in with.

    Where a signature is checked, the machine has cosign, which is not fetched once more.
    """
    found = declared(company.project.root / ".github" / "workflows" / workflow)
    passed = ("Log in to the registry", *(["Install cosign"] if workflow in ("deploy.yml", "rollback.yml") else []))
    return {job: [step for step in found[job] if not step.startswith(passed)] for job in jobs}


def train(company: Company, event: str = "push") -> WorkflowRun:
    run = company.runner.run("train.yml", event)
    assert_green(run, steps(company, "train.yml", "train", "release", "propose"))
    return run


def deploy(company: Company) -> WorkflowRun:
    return company.runner.run("deploy.yml")


def answering(company: Company, environment: str) -> int:
    """The version that says it answers."""
    said = company.project.request("GET", "/version", environment=environment).body
    version: int = said["version"]
    return version


def use_trees(company: Company, trees: int) -> None:
    path = company.project.root / "params.yaml"
    path.write_text(re.sub(r"n_estimators: \d+", f"n_estimators: {trees}", path.read_text("utf-8")), "utf-8")
    company.commit_and_push(f"Use {trees} trees")


@pytest.fixture(scope="module")
def first(company: Company) -> WorkflowRun:
    """The first candidate's training, of which the other tests go on."""
    return train(company)


def test_a_candidate_is_registered_signed_and_proposed(company: Company, first: WorkflowRun) -> None:
    assert {"candidate/v1", "promote/staging-v1"} <= company.forge.branches(REPOSITORY)
    proposed = company.forge.git(REPOSITORY, "show", "promote/staging-v1:deploy/environments/staging.yaml")
    assert "  version: 1\n" in proposed
    assert "dvc.lock" in company.forge.git(REPOSITORY, "diff", "--name-only", "main", "promote/staging-v1")
    (pull,) = company.forge.hubs[REPOSITORY].pulls
    assert (pull.title, pull.head, pull.base) == ("Promote version 1 to staging", "promote/staging-v1", "main")
    # What a workflow's token opens starts no checks, so these were started by name.
    assert ("pull-request.yml", pull.sha) in [(run.workflow, run.sha) for run in company.forge.hubs[REPOSITORY].runs]
    assert "version 1 signed by the key in COSIGN_KEY" in first.jobs["release"].log


@pytest.fixture(scope="module")
def staged(company: Company, first: WorkflowRun) -> WorkflowRun:
    """Version 1, accepted for staging and deployed there."""
    assert first.jobs["propose"].result == "success"
    company.merge("promote/staging-v1")
    return deploy(company)


def test_a_merged_proposal_is_deployed(company: Company, staged: WorkflowRun) -> None:
    declared_steps = steps(company, "deploy.yml", "staging", "production")
    declared_steps["production"] = declared_steps["production"][:-1]
    assert_green(staged, declared_steps)
    assert answering(company, "staging") == 1
    ledger = [json.loads(line) for line in (company.state / "ledger.jsonl").read_text("utf-8").splitlines()]
    assert [(one["environment"], one["version"], one["outcome"]) for one in ledger] == [("staging", 1, "deployed")]


def test_a_rollback_of_nothing_is_red(company: Company, staged: WorkflowRun) -> None:
    assert staged.ended("failure") == set()

    run = company.runner.run("rollback.yml", "workflow_dispatch", inputs={"environment": "production"})

    assert_red(run, "rollback", "Serve the version before, and say so in Git")
    assert "production names no champion yet" in run.jobs["rollback"].log


def test_production_takes_it_next_and_goes_back_with_one_dispatch(company: Company, staged: WorkflowRun) -> None:
    assert staged.ended("failure") == set()
    for trees, version in ((None, 1), (60, 2)):
        if trees:
            use_trees(company, trees)
            train(company)
            company.merge(f"promote/staging-v{version}")
            assert deploy(company).failures == []
        company.project.mlops("promote", "production", env=company.tracked)
        git(company.project.root, "merge", "--quiet", "--no-edit", f"promote/production-v{version}")
        company.push()
        assert deploy(company).failures == []
        assert answering(company, "production") == version

    run = company.runner.run("rollback.yml", "workflow_dispatch", inputs={"environment": "production"})

    assert_green(run, steps(company, "rollback.yml", "rollback"))
    assert "sent to origin, branch main" in run.log, run.log
    assert answering(company, "production") == 1
    assert company.forge.git(REPOSITORY, "log", "-1", "--format=%s", "main") == "Roll production back to version 1\n"
    git(company.project.root, "pull", "--quiet", "--ff-only", "origin", "main")


def test_an_unsigned_version_is_not_deployed(company: Company, staged: WorkflowRun) -> None:
    assert staged.ended("failure") == set()
    before = answering(company, "staging")
    company.project.mlops("pipeline", env=company.tracked | company.store.writer)
    use_trees(company, 100)  # also enough for the candidate below
    company.project.mlops("pipeline", env=company.tracked | company.store.writer)
    company.commit_and_push("Train at home")
    company.project.mlops("register", env=company.tracked | company.store.writer)
    told = company.project.mlops("promote", "staging", env=company.tracked).stdout
    branch = told.split("in branch ")[1].split()[0]
    company.merge(branch)

    run = deploy(company)

    assert_red(run, "staging", "Deploy staging, ask a question, move the alias")
    assert "is not signed, and policy.yaml asks for a signature" in run.jobs["staging"].log
    # Production does not wait for a staging that is broken: its file is a decision of its own.
    assert run.jobs["production"].ended("success")[-1] == "Deploy production, ask a question, move the alias"
    assert answering(company, "staging") == before


def recorded_refusals(company: Company) -> int:
    paths = (company.state / "refused" / "production").glob("*.jsonl")
    return sum(json.loads(line)["times"] for path in paths for line in path.read_text("utf-8").splitlines())


def test_the_monitor_publishes_its_report_and_proposes_what_follows(company: Company, staged: WorkflowRun) -> None:
    assert staged.ended("failure") == set()
    company.project.run("dvc", "pull", env=company.store.reader)
    log, rows = company.state / "predictions" / "production", company.project.flights_of_one_airport()
    before = logged(log)
    for row in rows:
        assert company.project.request("POST", "/predict", row, environment="production").status == 200
    say_the_same_a_week_ago(log, before + len(rows))
    for row in company.project.flights(30):
        unknown = row | {"carrier": "ZZ"}
        assert company.project.request("POST", "/predict", unknown, environment="production").status == 422
    wait_until(lambda: recorded_refusals(company) == 30)
    company.forge.calls.clear()

    run = company.runner.run("monitor.yml", "schedule")

    assert_green(run, steps(company, "monitor.yml", "monitor", "retrain"))
    assert "production: **act**" in run.summary
    pages = {path.name: path.read_text("utf-8") for path in (run.artifacts / "monitor-production").rglob("*.html")}
    assert pages.keys() == {"monitor-production.html", "monitor-production-history.html"}
    assert all("<html" in page for page in pages.values())
    title, branch = "Learn from rows until 2013-12-31", "retrain/2013-12-31"
    workflows = f"/repos/{REPOSITORY}/actions/workflows"
    *widened, opened, checked, trained = company.forge.calls
    assert "The monitor found: " in opened[2].pop("body")
    assert [path for _, path, _ in widened] == [
        f"/repos/{REPOSITORY}/pulls", f"{workflows}/pull-request.yml/dispatches"
    ]  # fmt: skip
    assert widened[0][2]["title"] == "Accept more values of carrier"
    added = company.forge.git(REPOSITORY, "diff", "--unified=0", "main", widened[0][2]["head"])
    assert '"YV", "ZZ"]' in added
    assert [opened, checked, trained] == [
        ("POST", f"/repos/{REPOSITORY}/pulls", {"title": title, "head": branch, "base": "main"}),
        ("POST", f"{workflows}/pull-request.yml/dispatches", {"ref": branch}),
        ("POST", f"{workflows}/train.yml/dispatches", {"ref": branch}),
    ]
    assert company.forge.git(REPOSITORY, "diff", "--name-only", "main", branch).split() == ["params.yaml"]
    message = company.forge.git(REPOSITORY, "log", "-1", "--format=%b", branch)
    assert "The monitor found: " in message


def test_a_candidate_on_the_branch_of_the_monitor_is_proposed_and_nothing_is_promoted(
    company: Company, staged: WorkflowRun
) -> None:
    """The same workflow as on main, started on the branch; the registry's newest version is its own."""
    assert staged.ended("failure") == set()
    before = company.forge.git(REPOSITORY, "rev-parse", "main"), answering(company, "production")
    git(company.project.root, "fetch", "--quiet", "origin", "retrain/2013-12-31")
    git(company.project.root, "switch", "--quiet", "--create", "retrain/2013-12-31", "FETCH_HEAD")

    try:
        run = train(company, "workflow_dispatch")
    finally:
        git(company.project.root, "switch", "--quiet", "main")

    version = run.jobs["train"].log.partition(" registered")[0].rpartition("version ")[2]
    proposed = company.forge.git(REPOSITORY, "diff", "--name-only", "main", f"promote/staging-v{version}").split()
    assert {"params.yaml", "dvc.lock", "deploy/environments/staging.yaml"} <= set(proposed)
    assert (company.forge.git(REPOSITORY, "rev-parse", "main"), answering(company, "production")) == before


def test_a_monitor_that_cannot_judge_is_red_and_asks_for_nothing(company: Company, staged: WorkflowRun) -> None:
    assert staged.ended("failure") == set()
    company.forge.calls.clear()

    with company.changed("policy.yaml", "ignore: [flight]", "ignore: [wind]"):
        run = company.runner.run("monitor.yml", "schedule")

    assert_red(run, "monitor", "Judge production's predictions")
    assert "policy.yaml, monitor.ignore: there is no column wind" in run.jobs["monitor"].log
    assert run.jobs["retrain"].result == "skipped"
    assert company.forge.calls == []


def test_branch_rules_are_applied_and_a_missing_one_is_told(company: Company) -> None:
    token = company.tracked | {"GITHUB_REPOSITORY": REPOSITORY}

    missing = company.project.mlops("rules", env=token, check=False)
    applied = company.project.mlops("rules", "--apply", env=token)
    company.forge.hubs[REPOSITORY].rulesets[0]["enforcement"] = "disabled"
    weakened = company.project.mlops("rules", env=token, check=False)

    assert (missing.exit_code, missing.stdout) == (3, "the rule main is changed by review is not there\n")
    assert "added the rule main is changed by review" in applied.stdout
    assert (weakened.exit_code, weakened.stdout) == (3, "the rule main is changed by review has another enforcement\n")
