"""A fix of the platform reaches a model that is registered: two wheels, each with a digest of its own."""

import pytest
from clients import asking, state, two_answers_later
from rendering import git
from running import RunningProject

PLATFORM = "vendor/slipway/src/slipway"
VERSION_PAGE = f"{PLATFORM}/serving/context.py"
IDENTITY = 'return {"name": self.scorer.facts.name,'

#: What no platform may do to a registered model, by file: other scores, no scores, other answers of the same scores.
HARM = {
    "other scores": (
        f"{PLATFORM}/training/scoring.py",
        "content = scorer.answers(scores)",
        "scores += 0.1\n    content = scorer.answers(scores)",
        "its scores to the golden rows are",
    ),
    "no scores": (
        f"{PLATFORM}/training/scoring.py",
        "return self.score_matrix(matrix(columns, self.facts.features)[1])",
        "return self.score_matrix(matrix(columns, self.facts.features)[1] * 2)",
        "the golden rows got no answer",
    ),
    "other answers": (
        f"{PLATFORM}/training/scoring.py",
        "return self.kind.answers(scores, self.facts.threshold)",
        "return self.kind.answers(scores, self.facts.threshold / 2)",
        "its answers to the golden rows are",
    ),
}


def change_platform(project: RunningProject, path: str, old: str, new: str, *options: str) -> None:
    """Change the platform in this checkout, and accept that it shall serve what runs in staging."""
    project.edit(path, old, new)
    project.commit("Change the platform")
    project.mlops("promote", "staging", "--this-platform", *options)
    git(project.root, "merge", "--quiet", "--no-edit", "promote/staging-v1")


def answers(project: RunningProject, rows: list[dict[str, object]]) -> list[tuple[bool, object]]:
    said = project.request("POST", "/predict", {"rows": rows}).body
    assert said["model"]["version"] == 1
    return [(one["late"], one.get("score")) for one in said["predictions"]]


def environment_file(project: RunningProject, name: str = "staging") -> str:
    return (project.root / f"deploy/environments/{name}.yaml").read_text("utf-8")


def test_a_newer_platform_serves_a_registered_model_and_going_back_restores_both(
    trained_project: RunningProject,
) -> None:
    trained_project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    trained_project.commit("Let clients ask as fast as they can")
    trained_project.release("staging")
    rows = trained_project.flights(20)
    before, own = answers(trained_project, rows), environment_file(trained_project)
    changed = IDENTITY.replace("{", '{"fixed": True, ', 1)

    change_platform(trained_project, VERSION_PAGE, IDENTITY, changed)
    with asking(trained_project) as clients:
        trained_project.mlops("deploy", "staging")
        two_answers_later(clients)
    served = trained_project.request("GET", "/version").body
    facts = state(trained_project)["run"]

    assert [client.failures for client in clients] == [[], [], [], []]
    assert (served["fixed"], served["version"]) == (True, 1)
    assert answers(trained_project, rows) == before
    assert len(trained_project.versions()) == 1
    for digest in (facts["digest"], facts["platform"]["digest"]):
        assert digest in environment_file(trained_project)
        assert digest[:19] in trained_project.mlops("status").stdout
    audited = trained_project.mlops("audit", check=False)
    assert audited.exit_code == 0, audited.stdout
    assert "platform 0.4.0, which staging names, is that of its commit" in audited.stdout

    trained_project.release("production")
    assert trained_project.request("GET", "/version", environment="production").body["fixed"] is True

    trained_project.mlops("rollback", "staging")

    assert "fixed" not in trained_project.request("GET", "/version").body
    assert environment_file(trained_project) == own
    assert "served by platform" not in trained_project.mlops("status").stdout.splitlines()[-1]
    assert answers(trained_project, rows) == before


@pytest.mark.parametrize(("path", "old", "new", "complaint"), HARM.values(), ids=HARM)
def test_a_platform_that_answers_otherwise_is_refused_and_the_one_that_runs_goes_on(
    trained_project: RunningProject, path: str, old: str, new: str, complaint: str
) -> None:
    trained_project.release("staging")
    runs = state(trained_project)
    change_platform(trained_project, path, old, new)

    refused = trained_project.mlops("deploy", "staging", check=False)

    assert refused.exit_code == 1
    assert "error: platform 0.4.0 does not answer as the one that this version was registered with" in refused.stderr
    assert complaint in refused.stderr
    assert "next: leave `platform` out of the environment's file" in refused.stderr
    after = state(trained_project)
    assert (after["run"], after["workers"]) == (runs["run"], runs["workers"])
    assert trained_project.request("GET", "/ready").status == 200


def test_a_platform_whose_digest_is_not_that_of_its_commit_is_neither_deployed_nor_passed_over(
    trained_project: RunningProject,
) -> None:
    trained_project.release("staging")
    change_platform(trained_project, VERSION_PAGE, IDENTITY, IDENTITY.replace("{", '{"fixed": True, ', 1))
    named = environment_file(trained_project).split("platform:")[1]
    digest = next(line.split()[1] for line in named.splitlines() if "digest:" in line)
    trained_project.edit("deploy/environments/staging.yaml", digest, f"sha256:{'0' * 64}")
    trained_project.commit("Name another platform")

    refused = trained_project.mlops("deploy", "staging", check=False)
    audited = trained_project.mlops("audit", check=False)

    assert refused.exit_code == 1
    assert "is not the one with sha256:0000" in refused.stderr
    assert audited.exit_code == 3
    assert "FAIL  platform 0.4.0, which staging names, is that of its commit" in audited.stdout
    assert "fixed" not in trained_project.request("GET", "/version").body


def test_only_staging_takes_the_platform_of_a_commit(trained_project: RunningProject) -> None:
    trained_project.release("staging")

    refused = trained_project.mlops("promote", "production", "--this-platform", check=False)

    assert refused.exit_code == 2
    assert "production takes what runs in staging, its platform too" in refused.stderr


def test_the_platform_that_a_version_brings_is_no_newer_one(trained_project: RunningProject) -> None:
    """Named in the file, it is the wheel in the bundle: nothing is installed and no process changes."""
    trained_project.release("staging")
    runs = state(trained_project)
    installed = sorted((trained_project.root / ".mlops" / "releases").iterdir())
    trained_project.mlops("promote", "staging", "--this-platform")
    git(trained_project.root, "merge", "--quiet", "--no-edit", "promote/staging-v1")

    trained_project.mlops("deploy", "staging")

    assert state(trained_project)["workers"] == runs["workers"]
    assert sorted((trained_project.root / ".mlops" / "releases").iterdir()) == installed
