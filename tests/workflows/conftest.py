"""One company for all tests of workflows, and one project with containers for all tests of images."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from company import Company, company_for
from containers import ContainerProject, image_name, log_in, run_staging_in_containers, with_proxy
from engine import Engine, Registry
from forge import forge
from running import make_bucket, prepare, train
from servers import s3_store


@pytest.fixture(scope="session")
def company(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A native project with everything connected and nothing trained yet."""
    folder = tmp_path_factory.mktemp("company")
    for name in ("store", "forge"):
        (folder / name).mkdir()
    with forge(folder / "forge") as there, s3_store(folder / "store") as store:
        rendered = render(data_remote="s3", data_remote_url=store.url, s3_endpoint=store.endpoint)
        project = prepare(rendered, demanding=True)
        make_bucket(project, store.endpoint, "flights", store.owner)
        with company_for(project, folder, there, store) as made:
            yield made


@pytest.fixture(scope="session")
def shipped(
    render: Callable[..., Path], engine: Engine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerProject]:
    """Version 1 is registered and has its images. A test that changes something puts it back."""
    remote = str(tmp_path_factory.mktemp("remote"))
    root = render(target="compose", image=image_name(registry), data_remote_url=remote)
    log_in(engine, registry)
    with_proxy(engine)
    prepared = prepare(root, demanding=True)
    project = ContainerProject(prepared.root, engine, registry)
    # All clients of a test share one address; how many of them there may be is another test's question.
    project.edit("policy.yaml", "requests_per_second: 1000", "requests_per_second: 1000000")
    run_staging_in_containers(project)
    train(project)
    (root / ".mlops" / "built.txt").write_text(project.mlops("build", "--push").stdout, encoding="utf-8")
    with sqlite3.connect(root / ".mlops" / "mlflow.db") as store:
        ((noted,),) = store.execute(
            "select value from model_version_tags where key = 'image' and version = 1"
        ).fetchall()
    (root / ".mlops" / "noted.txt").write_text(noted, encoding="utf-8")
    yield project
    project.stop()
