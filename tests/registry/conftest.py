from collections.abc import Iterator

import pytest

from tests.host.fixtures import host_process
from tests.registry.buckets import BUCKET, client_of, s3_server

__all__ = ["host_process"]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3-compatible server with an empty bucket."""
    with s3_server() as url:
        client_of(url).create_bucket(Bucket=BUCKET)
        yield url
