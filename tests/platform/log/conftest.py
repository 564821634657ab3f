"""A real store of objects for the logs that are kept in a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from botocore.session import get_session
from servers import s3_store


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder in a bucket, to which this process has the credentials of the bucket's owner."""
    with s3_store(tmp_path_factory.mktemp("store")) as store:
        os.environ |= {**store.owner, "AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}
        get_session().create_client("s3", endpoint_url=store.endpoint).create_bucket(Bucket="flights")
        yield "s3://flights/logs"
