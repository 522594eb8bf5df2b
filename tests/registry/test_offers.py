"""Files that hosts fetch: from Lastgood by a token of a quarter of an hour, or from the bucket without passing it."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import time_machine
from django.core.signing import TimestampSigner

from registry import offers, store
from registry.serving.base import Source
from registry.serving.bundled import BundledDriver
from tests.host.fixtures import HostProcess
from tests.registry.buckets import BUCKET, KEYS, Cutter, client_of, use
from tests.registry.web import web_server
from tests.waiting import until

MIB = 2**20
DRIVER = BundledDriver()


@pytest.fixture(autouse=True)
def lastgood(settings: Any, tmp_path: Path) -> Iterator[str]:
    """Lastgood's address, which is also the one for hosts."""
    settings.LASTGOOD_VAR = tmp_path / "var"
    with web_server() as url:
        settings.LASTGOOD_ARTIFACTS_ADDRESS = url
        yield url


@pytest.fixture
def host(host_process: Callable[..., HostProcess]) -> HostProcess:
    return host_process("fetching", LASTGOOD_HOST_FETCH_NETWORKS="127.0.0.0/8")


def get(source: Source, **headers: str) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {source.token}"} if source.token else {}
    return httpx.get(source.url, headers=bearer | headers)


def test_lastgood_gives_the_file_and_any_rest_of_it_to_the_holder_of_its_token(lastgood: str) -> None:
    data = os.urandom(3 * MIB)
    [source] = offers.sources(store.put_bytes(data))

    whole, rest = get(source), get(source, Range=f"bytes={MIB}-")

    assert urlsplit(source.url).netloc == urlsplit(lastgood).netloc
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["Cache-Control"] == "private, no-store"
    assert (rest.status_code, rest.content) == (206, data[MIB:])
    assert rest.headers["Content-Range"] == f"bytes {MIB}-{3 * MIB - 1}/{3 * MIB}"
    assert get(source, Range=f"bytes={3 * MIB}-").status_code == 416


def test_abuse_18_21_no_other_token_opens_a_file() -> None:
    [source], [other] = offers.sources(store.put_bytes(b"weights")), offers.sources(store.put_bytes(b"others"))
    sha256 = source.url.rstrip("/").rpartition("/")[2]
    forged = [
        Source(source.url),
        Source(source.url, other.token),
        Source(source.url, TimestampSigner().sign(sha256)),
        Source(source.url, source.token[:-1] + ("A" if source.token[-1] != "A" else "B")),
        Source(f"{source.url}?token={source.token}"),
    ]

    answers = [get(one) for one in forged]

    assert [answer.status_code for answer in answers] == [401] * 5
    assert {answer.json()["type"] for answer in answers} == {"/problems/authentication-failed"}
    assert get(source).content == b"weights"


def test_a_token_is_good_for_a_quarter_of_an_hour() -> None:
    sha256, now = store.put_bytes(b"weights"), datetime.now(UTC)
    [source] = offers.sources(sha256)

    for later, good in ((890, True), (910, False)):
        with time_machine.travel(now + timedelta(seconds=later)):
            assert offers.permits(source.token, sha256) is good


def test_a_file_that_is_not_there_is_not_found() -> None:
    assert get(offers.sources("ab" * 32)[0]).status_code == 404


def test_a_web_process_gives_one_file_at_a_time_and_tells_others_when_to_ask() -> None:
    [source] = offers.sources(store.put_bytes(os.urandom(32 * MIB)))

    with httpx.stream("GET", source.url, headers={"Authorization": f"Bearer {source.token}"}) as first:
        assert first.status_code == 200
        second = get(source)
    assert (second.status_code, second.headers["Retry-After"]) == (429, "2")
    until(lambda: get(source).status_code == 200)


def test_a_host_fetches_from_lastgood_what_it_lacks(host: HostProcess) -> None:
    data = os.urandom(3 * MIB)
    sha256 = store.put_bytes(data)

    assert DRIVER.fetch(host.address, sha256, len(data), lambda: offers.sources(sha256))

    assert (host.state / "blobs" / sha256).read_bytes() == data


def test_several_hosts_are_all_served_though_one_at_a_time(host_process: Callable[..., HostProcess]) -> None:
    data = os.urandom(8 * MIB)
    sha256 = store.put_bytes(data)
    hosts = [host_process(f"h{number}", LASTGOOD_HOST_FETCH_NETWORKS="127.0.0.0/8") for number in range(3)]

    with ThreadPoolExecutor(3) as workers:
        asked = [
            workers.submit(DRIVER.fetch, each.address, sha256, len(data), lambda: offers.sources(sha256))
            for each in hosts
        ]
        assert [one.result(60) for one in asked] == [True, True, True]

    assert all((each.state / "blobs" / sha256).read_bytes() == data for each in hosts)


def test_a_damaged_file_of_the_store_is_not_taken(host: HostProcess) -> None:
    sha256 = store.put_bytes(b"weights")
    store.path(sha256).write_bytes(b"weightz")

    assert not DRIVER.fetch(host.address, sha256, 7, lambda: offers.sources(sha256))

    assert not (host.state / "blobs" / sha256).exists()
    assert host.http.get(f"/lastgood/v1/blobs/{sha256}/upload").json()["offset"] == 0


def test_a_host_fetches_from_the_bucket_and_no_byte_passes_lastgood(
    settings: Any, s3: str, tmp_path: Path, host: HostProcess, lastgood: str
) -> None:
    use(settings, s3, tmp_path.name)
    data = os.urandom(5 * MIB)
    sha256 = store.put_bytes(data)
    store.path(sha256).unlink()

    with Cutter(s3, most=2 * MIB, times=1) as cutter:
        settings.LASTGOOD_ARTIFACTS_ENDPOINT = cutter.url
        assert [urlsplit(source.url).netloc for source in offers.sources(sha256)] == [
            urlsplit(cutter.url).netloc,
            urlsplit(lastgood).netloc,
        ]
        assert DRIVER.fetch(host.address, sha256, len(data), lambda: offers.sources(sha256))

    assert (host.state / "blobs" / sha256).read_bytes() == data
    assert [asked.partition("=")[2] for asked in cutter.ranges] == ["", f"{2 * MIB}-"]
    assert not store.path(sha256).exists()
    assert f'"from": "{cutter.url}"' in host.log.read_text()


def test_what_the_bucket_does_not_give_a_host_lastgood_gives_it(
    settings: Any, s3: str, tmp_path: Path, host: HostProcess, lastgood: str
) -> None:
    use(settings, s3, tmp_path.name)
    sha256 = store.put_bytes(b"weights")
    client_of(s3).delete_object(Bucket=BUCKET, Key=f"{tmp_path.name}/{sha256[:2]}/{sha256}")

    assert DRIVER.fetch(host.address, sha256, 7, lambda: offers.sources(sha256))

    assert f'"from": "{lastgood}"' in host.log.read_text()


def test_a_file_of_the_bucket_passes_lastgood_without_a_copy(settings: Any, s3: str, tmp_path: Path) -> None:
    use(settings, s3, tmp_path.name)
    data = os.urandom(3 * MIB)
    sha256 = store.put_bytes(data)
    store.path(sha256).unlink()
    own = offers.sources(sha256)[-1]

    assert get(own, Range="bytes=7-").content == data[7:]
    assert not store.path(sha256).exists()


def test_an_address_of_the_bucket_is_of_one_file_and_for_a_quarter_of_an_hour(
    settings: Any, s3: str, tmp_path: Path
) -> None:
    use(settings, s3, tmp_path.name)
    mine, other = store.put_bytes(b"weights"), store.put_bytes(b"others")
    signed = offers.sources(mine)[0]

    parts = urlsplit(signed.url)
    assert (parts.path, "X-Amz-Expires=900" in parts.query) == (f"/{BUCKET}/{tmp_path.name}/{mine[:2]}/{mine}", True)
    assert KEYS["aws_secret_access_key"] not in signed.url
    assert other not in signed.url
    assert signed.url not in repr(signed)
