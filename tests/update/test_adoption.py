"""`copier copy` over a repository that is there already adds the platform, overwrites nothing and says what is left."""

import re
import subprocess
from itertools import cycle
from pathlib import Path

import copier
import pytest
from rendering import Template, commit, files, git, releases
from slipway.template import update as following

PACKAGE = """\
[project]
name = "late-trams"
version = "3.1.0"
dependencies = ["numpy"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
PIPELINE = "stages:\n  fit:\n    cmd: python fit.py\n    deps:\n      - data/trams.csv\n    outs:\n      - model.pkl\n"
SHAPES: dict[str, dict[str, str]] = {
    "package": {
        "pyproject.toml": PACKAGE,
        "README.md": "# Late trams\n",
        ".gitignore": "*.egg-info/\n",
        ".gitattributes": "*.ipynb -diff\n",
        ".github/workflows/ci.yml": "name: Ours\non: push\njobs: {}\n",
        "src/flight_delays/__init__.py": '"""Ours."""\n',
        "src/flight_delays/model.py": "ANSWER = 42\n",
        "tests/test_model.py": "def test_answer() -> None: ...\n",
    },
    "notebooks": {
        "README.md": "# First looks\n",
        "requirements.txt": "pandas\n",
        "notebooks/01 look.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}\n',
        "data/trams.csv": "line,late\n11,1\n",
    },
    "dvc": {
        "pyproject.toml": PACKAGE,
        "dvc.yaml": PIPELINE,
        "dvc.lock": "schema: '2.0'\n",
        "params.yaml": "depth: 3\n",
        ".dvc/config": "[core]\n    remote = ours\n['remote \"ours\"']\n    url = /srv/dvc\n",
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        ".dvcignore": "scratch/\n",
        "data/.gitignore": "/trams.csv\n",
        "data/trams.csv.dvc": "outs:\n- md5: a304afb96060aad90176268345e10355\n  path: trams.csv\n",
        "fit.py": "print(42)\n",
    },
}
LACKING = {
    "package": {
        "pyproject.toml",
        ".gitignore",
        ".gitattributes",
        "src/flight_delays/__init__.py",
    },
    "notebooks": set(),
    "dvc": {"pyproject.toml", "dvc.yaml", ".dvc/config", ".dvcignore"},
}


#: Each release once, and each shape at least once: what a team has does not change with the release.
ADOPTED = [*zip(releases(), cycle(SHAPES), strict=False)]


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def repository(shape: str, tmp_path: Path) -> Path:
    """A repository as a team has it before it has heard of Slipway."""
    root = tmp_path / "repository"
    for name, text in SHAPES[shape].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(root, "init", "--quiet")
    commit(root, "Before Slipway")
    return root


def adopt(repository: Path, template: Template, version: str | None = None) -> None:
    """Do what docs/adopting.md says."""
    copier.run_copy(str(template.path), repository, vcs_ref=version, defaults=True, skip_if_exists=["*"])


def test_adoption_adds_every_file_and_overwrites_none(
    shape: str, repository: Path, released: Template, tmp_path: Path
) -> None:
    adopt(repository, released)

    found = {name: path.read_bytes() for name, path in files(repository).items()}
    fresh = {name: path.read_bytes() for name, path in files(released.render(tmp_path / "fresh")).items()}
    assert found == fresh | {name: text.encode() for name, text in SHAPES[shape].items()}


def test_adoption_says_what_is_left_to_do_by_hand(
    shape: str, repository: Path, released: Template, capfd: pytest.CaptureFixture[str]
) -> None:
    adopt(repository, released)
    recipe = re.search(r"^ +(uv run .* template audit)$", capfd.readouterr().err, flags=re.MULTILINE)
    commit(repository, "Adopt Slipway")

    assert recipe
    done = subprocess.run(recipe[1], shell=True, cwd=repository, capture_output=True, text=True, check=False)
    named = re.findall(r"^shared +(?:missing|\+\d+ -[1-9]\d*) +(.*)$", done.stdout, flags=re.MULTILINE)
    assert set(named) == LACKING[shape], done.stdout + done.stderr
    shown = re.search(r"(git diff HEAD .*)$", done.stdout, flags=re.MULTILINE)
    assert bool(shown) == bool(LACKING[shape])
    if shown:
        difference = subprocess.run(shown[1], shell=True, cwd=repository, capture_output=True, text=True, check=True)
        assert '+here = "flight_delays"' in difference.stdout


@pytest.mark.parametrize(("version", "shape"), ADOPTED)
def test_an_update_after_adoption_loses_nothing(version: str, shape: str, repository: Path, released: Template) -> None:
    adopt(repository, released, version)
    commit(repository, "Adopt Slipway")

    update = following.prepare(repository, trust=True)

    for name, text in SHAPES[shape].items():
        merged = git(repository, "show", f"{update.merged}:{name}")
        assert [line for line in text.splitlines() if line not in merged] == []
        assert merged == text or name in update.conflicts
