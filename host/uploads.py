"""Blobs as they arrive: what came before a connection broke, or before the host died, is kept, and the rest goes on
from there. A blob gets its name only when all of it has been hashed and is on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from host.problems import Problem
from host.requests import Receive, chunk
from host.store import Store

READ_BYTES = 2**20


class Incoming:
    """A blob that arrives, in the hands of whoever began last to bring it: a sender, or the host that fetches it. As
    a context manager it relieves whoever was at it before. `size` is how many bytes are here; at most `limit`
    come.

    `go_on`, `add` and `keep` raise 409 `superseded` once a later one has begun, and touch nothing then.
    """

    def __init__(self, store: Store, sha256: str, limit: int) -> None:
        self.store, self.sha256, self.limit = store, sha256, limit
        self.part = store.part(sha256)
        self.size = 0
        self._state = hashlib.sha256()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Incoming:
        with self.store.arriving:
            self.store.uploads[self.sha256] = self
            self.size = _come(self.part)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        with self.store.arriving:
            if self.store.uploads.get(self.sha256) is self:
                del self.store.uploads[self.sha256]

    def go_on(self, offset: int) -> None:
        """Keep the first `offset` bytes of what is here and hash them: the rest is added to them."""
        with self.store.arriving:
            self._check_mine()
            os.close(os.open(self.part, os.O_CREAT | os.O_WRONLY, 0o600))
            os.truncate(self.part, offset)
            if self._file is None:
                self._file = self.part.open("ab", buffering=0)
        self.size, self._state = offset, hashlib.sha256()
        with self.part.open("rb") as file:
            while data := file.read(READ_BYTES):
                self._state.update(data)

    def add(self, data: bytes) -> None:
        """More of it. 413 `too-large`, and nothing is kept, when it is more than may come."""
        assert self._file is not None, "go_on says from where"
        with self.store.arriving:
            self._check_mine()
            if self.size + len(data) > self.limit:
                self._drop()
                raise Problem(413, "too-large", f"A blob may have at most {self.limit} bytes.")
            self._file.write(data)
        self.size += len(data)
        self._state.update(data)

    def keep(self) -> None:
        """Give it its name. 422 `digest-mismatch`, and nothing is kept, where its bytes are not those of the name."""
        assert self._file is not None, "go_on says from where"
        if (found := self._state.hexdigest()) != self.sha256:
            with self.store.arriving:
                self._check_mine()
                self._drop()
            raise Problem(422, "digest-mismatch", f"The body's SHA-256 is {found}, not {self.sha256}.")
        os.fsync(self._file.fileno())
        with self.store.arriving:
            self._check_mine()
            self.store.keep_blob(self.part, self.sha256)

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()
            self._file = None
        self.size = 0

    def _check_mine(self) -> None:
        if self.store.uploads.get(self.sha256) is not self:
            raise Problem(409, "superseded", "Another sender of the same blob has come since.")


def standing(store: Store, sha256: str) -> dict[str, Any]:
    """How much of a blob is here: `offset` bytes, from which a sender goes on, or the `whole` of it."""
    if store.blob(sha256).exists():
        return {"whole": True, "offset": store.blob(sha256).stat().st_size}
    return {"whole": False, "offset": _come(store.part(sha256))}


def _come(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


async def receive_blob(receive: Receive, store: Store, sha256: str, limit: int, offset: int = 0) -> bool:
    """Stream a body into the store, as the blob's bytes from `offset` on. True when stored, False when it was there.

    422 when the blob's SHA-256 is another, and nothing of it is kept; 409 `wrong-offset` where fewer bytes are here;
    409 `superseded` for a sender whom a later one of the same blob has relieved.
    """
    if store.blob(sha256).exists():
        while (await chunk(receive))[1]:
            pass
        return False
    with Incoming(store, sha256, limit) as incoming:
        if offset > incoming.size:
            come = incoming.size
            raise Problem(409, "wrong-offset", f"{come} bytes of it are here. Go on from there.", offset=come)
        await asyncio.to_thread(incoming.go_on, offset)
        more = True
        while more:
            data, more = await chunk(receive)
            incoming.add(data)
        await asyncio.to_thread(incoming.keep)
        return True
