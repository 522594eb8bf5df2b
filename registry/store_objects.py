"""Artifacts in an S3-compatible store, behind this machine's directory: objects named by the SHA-256 of their bytes.

What is read is checked by whoever reads; what is written is checked by the store, which is sent each part's SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PART_BYTES = 16 * 2**20
PARTS_AT_ONCE = 4
PIECE_BYTES = 2**20
NAME = re.compile(r"(?:.*/)?([0-9a-f]{2})/(\1[0-9a-f]{62})")


class ArtifactUnavailable(OSError):
    """A file can't be read or written now: the store does not answer, or refuses. The message says which and why."""


class StoreAddressRefused(ValueError):
    """LASTGOOD_ARTIFACTS_URL or what belongs to it can't be used. The message says what to write."""


@dataclass(frozen=True)
class Access:
    """Where a bucket is and what opens it. Empty keys leave the choice to the machine: environment or instance role."""

    url: str
    endpoint: str = ""
    region: str = ""
    key_id: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    def bucket(self) -> tuple[str, str]:
        """Bucket and prefix. Raises StoreAddressRefused."""
        parts = urlsplit(self.url)
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise StoreAddressRefused("An artifact store is s3://bucket/prefix, or file:///directory.")
        if bool(self.key_id) != bool(self.secret):
            raise StoreAddressRefused("Set both LASTGOOD_ARTIFACTS_KEY_ID and LASTGOOD_ARTIFACTS_SECRET, or neither.")
        return parts.netloc, parts.path.strip("/")


class Bucket:
    """The objects of one bucket below one prefix. Every method raises ArtifactUnavailable; reading what is not there,
    FileNotFoundError. `patient` retries for a minute; else an answer is wanted within seconds."""

    def __init__(self, access: Access, *, patient: bool = True) -> None:
        self._access = access
        self._patient = patient
        self._bucket, self._prefix = access.bucket()
        self.address = access.url

    def check(self) -> None:
        """Raises ArtifactUnavailable where the bucket does not answer, does not exist, or refuses to list itself."""
        import obstore

        with self._asking():
            obstore.list_with_delimiter(self._client)

    def size_of(self, sha256: str) -> int | None:
        """Bytes of the object, None where there is none."""
        import obstore

        try:
            with self._asking():
                return int(obstore.head(self._client, _key(sha256))["size"])
        except FileNotFoundError:
            return None

    def read(self, sha256: str, offset: int = 0) -> Iterator[bytes]:
        """The object's bytes from `offset` on."""
        import obstore

        with self._asking():
            found = obstore.get(self._client, _key(sha256), options={"range": {"offset": offset}} if offset else {})
            for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    def signed(self, sha256: str, seconds: float) -> str:
        """The object's address with a signature by which anybody may read it for so long."""
        import obstore

        with self._asking():
            return str(obstore.sign(self._client, "GET", _key(sha256), timedelta(seconds=seconds)))

    def write(self, sha256: str, source: Path) -> None:
        """Store a file under that name, in parts where it is large; each part is sent again alone when it fails."""
        import obstore

        with self._asking():
            obstore.put(
                self._client, _key(sha256), source, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )  # fmt: skip
        if (found := self.size_of(sha256)) != source.stat().st_size:
            raise ArtifactUnavailable(f"{self.address} holds {found} bytes of {sha256[:12]} after it was written.")

    def remove(self, sha256: str) -> None:
        """Take the object away; where there is none, nothing happens."""
        import obstore

        try:
            with self._asking():
                obstore.delete(self._client, _key(sha256))
        except FileNotFoundError:
            return

    def names(self) -> Iterator[tuple[str, int, float]]:
        """SHA-256, bytes and time of change (seconds since 1970) of each object that is named as ours are."""
        import obstore

        with self._asking():
            for rows in obstore.list(self._client):
                for row in rows:
                    if named := NAME.fullmatch(row["path"]):
                        yield named[2], int(row["size"]), row["last_modified"].timestamp()

    @cached_property
    def _client(self) -> Any:
        """Made at the first call: its threads do not outlive a fork."""
        from obstore.store import S3Store

        access = self._access
        given = {"endpoint": access.endpoint, "region": access.region, "access_key_id": access.key_id}
        given["secret_access_key"] = access.secret
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            config={"checksum_algorithm": "sha256", **{name: value for name, value in given.items() if value}},
            client_options={
                "allow_http": access.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=2),
                "read_timeout": timedelta(seconds=30 if self._patient else 2),
                # One for the whole of an answer would end the reading of every large file.
                "timeout": timedelta(days=1) if self._patient else timedelta(seconds=4),
            },
            retry_config={
                "max_retries": 6 if self._patient else 0,
                "retry_timeout": timedelta(seconds=60 if self._patient else 4),
            },
        )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """What the client says of a failure holds whole requests: only its kind is passed on."""
        from obstore import exceptions

        try:
            yield
        except (exceptions.NotFoundError, FileNotFoundError):
            raise FileNotFoundError("The object is not in the store.") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise ArtifactUnavailable(
                f"{self.address} refuses Lastgood's keys. Check LASTGOOD_ARTIFACTS_KEY_ID and what it may do."
            ) from None
        except (exceptions.BaseError, OSError, ValueError) as error:
            if isinstance(error, ArtifactUnavailable):
                raise
            if "NoSuchBucket" in str(error):
                raise ArtifactUnavailable(f"There is no bucket {self._bucket}: make it, or name another.") from None
            raise ArtifactUnavailable(
                f"{self.address} does not answer as it should ({type(error).__name__}). Try again when it does."
            ) from None


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"
