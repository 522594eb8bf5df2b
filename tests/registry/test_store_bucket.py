"""Artifacts in an S3-compatible bucket: verified both ways, resumed where they broke off, never half there."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from registry import store
from registry.store_directory import Directory
from registry.store_objects import Access, Bucket
from tests.ports import free_port
from tests.registry.buckets import BUCKET, KEYS, Cutter, client_of, use


@pytest.fixture(autouse=True)
def prefix(settings: Any, tmp_path: Path, s3: str) -> str:
    settings.LASTGOOD_VAR = tmp_path / "var"
    use(settings, s3, tmp_path.name)
    return tmp_path.name


def keys_in(s3: str, prefix: str) -> list[str]:
    found = client_of(s3).list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
    return [row["Key"] for row in found]


def forget_copies() -> None:
    for path in store.root().rglob("*"):
        if path.is_file():
            path.unlink()


def test_what_is_stored_is_an_object_of_its_digest_and_comes_back(s3: str, prefix: str) -> None:
    sha256 = store.put_bytes(b"weights")
    forget_copies()

    assert keys_in(s3, prefix) == [f"{prefix}/{sha256[:2]}/{sha256}"]
    assert (store.holds(sha256), store.size_of(sha256), store.lacking([sha256, "ab" * 32])) == (True, 7, {"ab" * 32})
    with store.open_verified(sha256) as file:
        assert file.read() == b"weights"
    assert [path.name for path in store.root().rglob("*") if path.is_file()] == [sha256]


def test_a_large_file_goes_in_parts_and_comes_back_whole(s3: str, prefix: str, tmp_path: Path) -> None:
    data = os.urandom(18 * 2**20)
    (tmp_path / "weights").write_bytes(data)

    sha256 = store.put_file(tmp_path / "weights")
    forget_copies()

    head = client_of(s3).head_object(Bucket=BUCKET, Key=f"{prefix}/{sha256[:2]}/{sha256}")
    assert head["ETag"].endswith('-2"')
    assert store.local(sha256).read_bytes() == data


def test_nothing_is_in_the_bucket_of_what_was_not_what_was_promised(s3: str, prefix: str) -> None:
    with pytest.raises(store.DigestMismatch, match="Nothing was stored"):
        store.put_stream([b"wei", b"ghtz"], hashlib.sha256(b"weights").hexdigest())

    assert keys_in(s3, prefix) == []


def test_an_object_with_other_bytes_is_refused_and_leaves_nothing_here(s3: str, prefix: str) -> None:
    sha256 = store.put_bytes(b"weights")
    client_of(s3).put_object(Bucket=BUCKET, Key=f"{prefix}/{sha256[:2]}/{sha256}", Body=b"weightz")
    forget_copies()

    with pytest.raises(store.ArtifactDamaged, match=sha256[:12]), store.open_verified(sha256):
        pass
    assert [path for path in store.root().rglob("*") if path.is_file()] == []


def test_a_damaged_copy_is_brought_anew() -> None:
    sha256 = store.put_bytes(b"weights")
    store.path(sha256).write_bytes(b"weightz")

    with store.open_verified(sha256) as file:
        assert file.read() == b"weights"


def test_a_missing_object_says_what_to_do() -> None:
    with pytest.raises(store.ArtifactMissing, match="Upload it again"):
        store.local("ab" * 32)


def test_a_read_that_breaks_goes_on_where_it_stopped(settings: Any, s3: str) -> None:
    data = os.urandom(5 * 2**20)
    sha256 = store.put_bytes(data)
    forget_copies()

    with Cutter(s3, most=2**21, times=2) as cutter:
        settings.LASTGOOD_ARTIFACTS_ENDPOINT = cutter.url
        assert store.local(sha256).read_bytes() == data

    starts = [int(asked.removeprefix("bytes=").split("-")[0] or 0) if asked else 0 for asked in cutter.ranges]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert 0 < starts[-1] < len(data)


def test_what_an_earlier_process_brought_is_not_brought_again(settings: Any, s3: str) -> None:
    data = os.urandom(3 * 2**20)
    sha256 = store.put_bytes(data)
    forget_copies()
    part = store.root() / "drafts" / f"{sha256}.part"
    part.write_bytes(data[: 2**21])

    with Cutter(s3, most=0, times=0) as cutter:
        settings.LASTGOOD_ARTIFACTS_ENDPOINT = cutter.url
        assert store.local(sha256).read_bytes() == data

    assert [asked.split("-")[0] for asked in cutter.ranges] == [f"bytes={2**21}"]
    assert not part.exists()


def test_a_store_that_does_not_answer_is_named_without_its_keys(settings: Any) -> None:
    bucket = Bucket(
        Access("s3://artifacts/x", f"http://127.0.0.1:{free_port()}", "us-east-1", *KEYS.values()), patient=False
    )

    with pytest.raises(store.ArtifactUnavailable, match="s3://artifacts/x does not answer") as raised:
        bucket.size_of("ab" * 32)
    assert KEYS["aws_secret_access_key"] not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert KEYS["aws_secret_access_key"] not in repr(Access("s3://artifacts/x", "", "", *KEYS.values()))


def test_a_bucket_that_does_not_exist_is_said_to_be_missing(settings: Any) -> None:
    settings.LASTGOOD_ARTIFACTS_URL = "s3://another/x"

    with pytest.raises(store.ArtifactUnavailable, match="no bucket another"):
        store.place(patient=False).check()


@pytest.mark.parametrize("url", ["s3://", "https://bucket/x", "s3://user:word@bucket/x", "bucket/x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(store.StoreAddressRefused, match="s3://bucket/prefix"):
        store.place_at(url)


def test_copies_asked_for_longest_ago_make_room(settings: Any) -> None:
    old, new = store.put_bytes(b"a" * 100), store.put_bytes(b"b" * 100)
    os.utime(store.path(old), (1, 1))
    settings.LASTGOOD_ARTIFACTS_CACHE_BYTES = 150

    assert store.trim_copies() == 100
    assert (store.path(old).exists(), store.path(new).exists(), store.holds(old)) == (False, True, True)


def test_a_directory_elsewhere_is_a_store_too(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_ARTIFACTS_URL = (tmp_path / "else where").as_uri()

    sha256 = store.put_bytes(b"weights")

    assert store.path(sha256) == tmp_path / "else where" / sha256[:2] / sha256
    assert next(iter(Directory(tmp_path / "else where").names()))[:2] == (sha256, 7)
