"""What the tests of updates share: every release, and projects made from them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import Template, commit, git, history


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A repository of the template with every released version and the work tree."""
    return history(tmp_path_factory.mktemp("released"))


@pytest.fixture
def start(released: Template, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a committed project of a released version."""

    def started(version: str, name: str = "project", **answers: str) -> Path:
        project = released.render(tmp_path / name, version, **answers)
        git(project, "init", "--quiet")
        commit(project, "A project")
        return project

    return started
