"""A real store of objects for the logs that are kept in a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from botocore.session import get_session
from servers import Bucket, s3_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A store with the bucket `flights`."""
    with s3_store(tmp_path_factory.mktemp("store")) as made:
        keys = {name.lower(): value for name, value in made.owner.items()}
        client = get_session().create_client("s3", endpoint_url=made.endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="flights")
        yield made


@pytest.fixture(scope="module")
def address(store: Bucket, an_environment_of_its_own: None) -> str:
    """The address of a folder in the bucket, to which this process has the credentials of the bucket's owner."""
    os.environ |= {**store.owner, "AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}
    return "s3://flights/logs"
