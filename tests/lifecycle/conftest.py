"""One trained project for all tests of the lifecycle, and one with two versions; each test works in a copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rendering import Template
from running import RunningProject, give_free_ports, made_once, prepare, train


@pytest.fixture(scope="session")
def trained(template: Template, tmp_path_factory: pytest.TempPathFactory) -> RunningProject:
    """The standard project with one registered version. Tests only look at it."""

    def make(folder: Path) -> None:
        root = template.render(folder / "flights")
        (folder / "flights-data").mkdir()
        config = root / ".dvc" / "config"
        config.write_text(config.read_text("utf-8").replace("../../flight-delays-data", "../../flights-data"), "utf-8")
        train(prepare(root, demanding=True))

    return RunningProject(made_once(tmp_path_factory, "trained", make) / "flights")


@pytest.fixture(scope="session")
def trained_twice(trained: RunningProject, tmp_path_factory: pytest.TempPathFactory) -> RunningProject:
    """The same with a second version of fewer trees. Tests only look at it."""
    twice = made_once(
        tmp_path_factory, "trained-twice", lambda folder: trained.copy(folder / "flights").train_another(trees=20)
    )
    return RunningProject(twice / "flights")


@pytest.fixture
def trained_project(trained: RunningProject, tmp_path: Path) -> Iterator[RunningProject]:
    """A copy of the trained project, to be changed at will; its servers are stopped in the end."""
    with _copy_of(trained, tmp_path) as project:
        yield project


@pytest.fixture
def twice_trained_project(trained_twice: RunningProject, tmp_path: Path) -> Iterator[RunningProject]:
    """A copy of the project with two versions, to be changed at will; its servers are stopped in the end."""
    with _copy_of(trained_twice, tmp_path) as project:
        yield project


@contextmanager
def _copy_of(project: RunningProject, folder: Path) -> Iterator[RunningProject]:
    copied = project.copy(folder / "flights")
    give_free_ports(copied.root)
    copied.commit("Listen on ports of its own")
    yield copied
    copied.stop()
