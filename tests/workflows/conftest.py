"""One project with containers for all tests of them: trained, its images built, tried and pushed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import ContainerProject, with_proxy
from engine import Engine, Registry
from running import prepare, train


@pytest.fixture(scope="session")
def shipped(
    render: Callable[..., Path], engine: Engine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerProject]:
    """Version 1 is registered and has its images. A test that changes something puts it back."""
    image = f"{registry.address}/acme/flights"
    root = render(target="compose", image=image, data_remote_url=str(tmp_path_factory.mktemp("remote")))
    login = ("--username", registry.username, "--password-stdin", registry.address)
    engine.docker("login", *login, stdin=registry.password)
    with_proxy(engine, tmp_path_factory.mktemp("proxy"))
    prepared = prepare(root)
    project = ContainerProject(prepared.root, engine, image)
    # All clients of a test share one address; how many of them there may be is another test's question.
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    train(project)
    (root / ".mlops" / "built.txt").write_text(project.mlops("build", "--push").stdout, encoding="utf-8")
    yield project
    project.stop()
