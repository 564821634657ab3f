"""A template of a few files with two versions, and projects of the first one: what an update does shows on these."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
from rendering import commit, git

QUESTIONS = """\
_subdirectory: template
_skip_if_exists: [/README.md]
package_name: {type: str, default: trams}
problem: {type: str, default: binary}
size: {type: str, default: standard, choices: [standard, small]}
image: {type: str, default: trams, when: "{{ size != 'small' }}"}
"""
FILES = {
    "{{_copier_conf.answers_file}}.jinja": "{{ _copier_answers | to_nice_yaml -}}\n",
    "README.md.jinja": "# Made for {{ size }}\n",
    "settings.txt.jinja": "one\ntwo\n{{ size }}\nfour\nfive\n",
    "dvc.yaml": "stages:\n  train:\n    cmd: mlops stage train\n  export:\n    cmd: mlops stage export\n",
    "policy.yaml": "gates: {}\n",
    "docs/one.md": "one\n",
    "docs/two.md": "two\n",
    "src/{{package_name}}/contract.py.jinja": '"""The contract of {{ package_name }}."""\n\nFIELDS = 1\nKEY = "id"\nROWS = 2\nTIME = "at"\nLABEL = "late"\n',
    ".gitattributes": "docs/** owner=shared\n/dvc.yaml owner=shared\n/settings.txt owner=platform\n",
}
NEWER = {
    "settings.txt.jinja": "one\nTWO\n{{ size }}\nfour\nfive\n",
    "notes/new.txt": "new\n",
    "extra.txt": "extra\n",
}


def write(root: Path, texts: dict[str, str]) -> None:
    """Write files by their path."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template at v2.0.0, and v1.0.0 before."""
    root = tmp_path_factory.mktemp("small") / "template"
    write(root, {"copier.yml": QUESTIONS} | {f"template/{name}": text for name, text in FILES.items()})
    git(root, "init", "--quiet")
    commit(root, "One")
    git(root, "tag", "v1.0.0")
    write(root, {f"template/{name}": text for name, text in NEWER.items()})
    write(root, {"CHANGELOG.md": "## [2.0.0]\n\n- News.\n"})
    commit(root, "Two")
    git(root, "tag", "v2.0.0")
    return root


@pytest.fixture(scope="session")
def made(small_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project of v1.0.0. Tests only look at it."""
    root = tmp_path_factory.mktemp("small") / "project"
    copier.run_copy(str(small_template), root, vcs_ref="v1.0.0", defaults=True, quiet=True)
    git(root, "init", "--quiet")
    commit(root, "A project")
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed at will."""
    return Path(shutil.copytree(made, tmp_path / "project"))


@pytest.fixture
def edit(copied: Path) -> Callable[..., None]:
    """Return a function that writes files of the project, None for one that goes, and commits."""

    def edited(texts: dict[str, str | None]) -> None:
        write(copied, {name: text for name, text in texts.items() if text is not None})
        for name in (name for name, text in texts.items() if text is None):
            (copied / name).unlink()
        commit(copied, "An edit")

    return edited
