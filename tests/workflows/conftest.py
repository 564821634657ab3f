"""One company for all tests of workflows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from company import Company, company_for
from forge import forge
from running import make_bucket, prepare
from servers import s3_store


@pytest.fixture(scope="session")
def company(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A native project with everything connected and nothing trained yet."""
    folder = tmp_path_factory.mktemp("company")
    for name in ("store", "forge"):
        (folder / name).mkdir()
    with forge(folder / "forge") as there, s3_store(folder / "store") as store:
        project = prepare(render(data_remote="s3", data_remote_url=store.url, s3_endpoint=store.endpoint))
        make_bucket(project, store.endpoint, "flights", store.writer)
        with company_for(project, folder, there, store) as made:
            yield made
