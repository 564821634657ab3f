"""The commit hooks of a generated project, run by its own tools."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import commit, git

pytestmark = pytest.mark.xdist_group("hooks")

# The shape of a secret, put together here so that no scanner takes this file for one.
KEY = "AKIA" + "Z7QX4M2N5P8R1T6V"
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": 1,
            "id": "first",
            "metadata": {},
            "outputs": [{"name": "stdout", "output_type": "stream", "text": ["late\n"]}],
            "source": ['print("late")'],
        }
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
MARKERS = "one\n<<<<<<< before updating\ntwo\n=======\nthree\n>>>>>>> after updating\n"
LOOSE = """\
name: Loose
on: push
jobs:
  loose:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v7
"""

REFUSED = {
    "no secrets": ("src/flight_delays/keys.py", f'KEY = "{KEY}"\n'),
    "no outputs in notebooks": ("notebooks/first_look.ipynb", json.dumps(NOTEBOOK, indent=1) + "\n"),
    "no file above 1,000 kB": ("data/raw.bin", "\0" * 1_050_000),
    "no conflict markers": ("notes.txt", MARKERS),
    "no rejected parts of an update": ("dvc.yaml.rej", "@@ -1 +1 @@\n"),
    "YAML can be read": ("deploy/broken.yaml", "a: [1\n"),
    "TOML can be read": ("broken.toml", "a = \n"),
    "no spaces at the end of a line": ("notes.txt", "late \n"),
    "one newline at the end of a file": ("notes.txt", "late"),
    "workflows are safe": (".github/workflows/loose.yml", LOOSE),
    "ruff check": ("src/flight_delays/unused.py", '"""Unused."""\n\nimport os\n'),
    "ruff format": ("src/flight_delays/wide.py", '"""Wide."""\n\nWIDE = [ 1 ]\n'),
    "mypy": ("src/flight_delays/wrong.py", '"""Wrong."""\n\nWRONG: int = "late"\n'),
}


@pytest.fixture(scope="module")
def project(render: Callable[..., Path]) -> Path:
    """A committed project with its packages installed: it has every file there is."""
    project = render()
    git(project, "init", "--quiet")
    subprocess.run(["uv", "sync", "--quiet"], cwd=project, check=True)
    commit(project, "A project")
    return project


def run_hooks(project: Path, *arguments: str, skip: str = "") -> subprocess.CompletedProcess[str]:
    """Run the hooks without a network, as on a train."""
    return subprocess.run(
        ["uv", "run", "--no-sync", "prek", "run", *arguments],
        cwd=project,
        env=os.environ | {"UV_OFFLINE": "1", "NO_COLOR": "1", "SKIP": skip},
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
    )


def test_a_new_project_passes_its_own_hooks(project: Path) -> None:
    done = run_hooks(project, "--all-files")

    assert done.returncode == 0, done.stdout + done.stderr
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(("hook", "path", "text"), [(hook, *file) for hook, file in REFUSED.items()], ids=REFUSED)
def test_a_commit_is_refused_by_the_hook_that_is_named(project: Path, hook: str, path: str, text: str) -> None:
    file = project / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    git(project, "add", "--force", path)

    # mypy reads the whole project, whatever the commit, and takes longer than all others together.
    done = run_hooks(project, skip="" if hook == "mypy" else "mypy")

    git(project, "rm", "--quiet", "--force", path)
    failed = [line for line in done.stdout.splitlines() if line.endswith("Failed")]
    assert done.returncode == 1
    assert [line for line in failed if line.startswith(hook)], done.stdout


def test_a_named_version_is_no_secret_but_a_key_beside_it_is(project: Path) -> None:
    path = "deploy/environments/staging.yaml"
    digest = hashlib.sha256(b"a bundle").hexdigest()
    named = (
        f"champion:\n  version: 1\n  digest: sha256:{digest}\n  commit: {digest[:40]}\n  image: a/b@sha256:{digest}\n"
    )
    text = (project / path).read_text("utf-8").replace("champion: null\n", named)
    answers = []
    for content in (text, f"{text}key: {digest[:40]}\n"):
        (project / path).write_text(content, encoding="utf-8")
        git(project, "add", path)
        answers.append(run_hooks(project, skip="mypy"))
    git(project, "checkout", "--quiet", "HEAD", "--", path)

    assert [done.returncode for done in answers] == [0, 1], answers[0].stdout
    assert "no secrets" in next(line for line in answers[1].stdout.splitlines() if line.endswith("Failed"))


def test_what_a_cluster_pulls_is_no_secret_but_a_key_beside_it_is(project: Path) -> None:
    path = "deploy/image.yaml"
    digest = hashlib.sha256(b"a bundle").hexdigest()
    told = f"- {{name: MLOPS_DIGEST, value: 'sha256:{digest}'}}\n- {{name: MLOPS_COMMIT, value: '{digest[:40]}'}}\n"

    answers = []
    for content in (f"a: 1\n---\n{told}", f"a: 1\n---\n{told}- {{name: KEY, value: '{digest[:40]}'}}\n"):
        (project / path).write_text(content, encoding="utf-8")
        git(project, "add", path)
        answers.append(run_hooks(project, skip="mypy"))
    git(project, "rm", "--quiet", "--force", path)

    assert [done.returncode for done in answers] == [0, 1], answers[0].stdout
    assert "no secrets" in next(line for line in answers[1].stdout.splitlines() if line.endswith("Failed"))
