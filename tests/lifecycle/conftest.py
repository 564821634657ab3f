"""One trained project for all tests of the lifecycle; each test works in a copy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import RunningProject, give_free_ports, prepare, train


@pytest.fixture(scope="session")
def trained(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> RunningProject:
    """The standard project with one registered version. Tests only look at it."""
    rendered = render()
    root = tmp_path_factory.mktemp("trained") / "flights"
    rendered.rename(root)
    (root.parent / "flights-data").mkdir()
    answers = root / ".dvc" / "config"
    answers.write_text(answers.read_text("utf-8").replace("../../flight-delays-data", "../../flights-data"), "utf-8")
    return train(prepare(root, demanding=True))


@pytest.fixture
def trained_project(trained: RunningProject, tmp_path: Path) -> Iterator[RunningProject]:
    """A copy of the trained project, to be changed at will; its servers are stopped in the end."""
    project = trained.copy(tmp_path / "flights")
    give_free_ports(project.root)
    project.commit("Listen on ports of its own")
    yield project
    project.stop()
