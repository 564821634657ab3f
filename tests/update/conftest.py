"""What the tests of updates share: every release, projects made from them, and one of each that has been updated."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import copier
import pytest
from rendering import Template, commit, git, history


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A repository of the template with every released version and the work tree."""
    return history(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="session")
def without_modules(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The same, but the work tree lacks the platform's modules: most of an update's time goes into them."""
    return history(tmp_path_factory.mktemp("without-modules"), platform=False)


@pytest.fixture
def start(released: Template, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a committed project of a released version."""

    def started(version: str, name: str = "project", **answers: str) -> Path:
        project = released.render(tmp_path / name, version, **answers)
        git(project, "init", "--quiet")
        commit(project, "A project")
        return project

    return started


@pytest.fixture(scope="session")
def updated(released: Template, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives an untouched project of a release, updated by Copier. Tests only look at it."""

    @cache
    def made(version: str) -> Path:
        project = released.render(tmp_path_factory.mktemp("updated") / "project", version)
        git(project, "init", "--quiet")
        commit(project, "A project")
        copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=True)
        commit(project, "Update")
        return project

    return made


@pytest.fixture
def updated_copy(updated: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives the same, to be changed at will."""
    return lambda version: Path(shutil.copytree(updated(version), tmp_path / "updated"))
