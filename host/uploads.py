"""Blobs as they arrive: what came before a connection broke, or before the host died, is kept, and the rest goes on
from there. A blob gets its name only when all of it has been hashed and is on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

from host.problems import Problem
from host.requests import Receive, chunk
from host.store import Store

READ_BYTES = 2**20


def standing(store: Store, sha256: str) -> dict[str, Any]:
    """How much of a blob is here: `offset` bytes, from which a sender goes on, or the `whole` of it."""
    if store.blob(sha256).exists():
        return {"whole": True, "offset": store.blob(sha256).stat().st_size}
    part = store.part(sha256)
    return {"whole": False, "offset": part.stat().st_size if part.exists() else 0}


async def receive_blob(receive: Receive, store: Store, sha256: str, limit: int, offset: int = 0) -> bool:
    """Stream a body into the store, as the blob's bytes from `offset` on. True when stored, False when it was there.

    422 when the blob's SHA-256 is another, and nothing of it is kept; 409 `wrong-offset` where fewer bytes are here;
    409 `superseded` for a sender whom a later one of the same blob has relieved.
    """
    if store.blob(sha256).exists():
        while (await chunk(receive))[1]:
            pass
        return False
    part, mine = store.part(sha256), object()
    store.uploads[sha256] = mine
    try:
        come = part.stat().st_size if part.exists() else 0
        if offset > come:
            raise Problem(409, "wrong-offset", f"{come} bytes of it are here. Go on from there.", offset=come)
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        os.truncate(part, offset)
        digest = await asyncio.to_thread(_hashed, part)
        with part.open("ab", buffering=0) as file:
            size, more = offset, True
            while more:
                data, more = await chunk(receive)
                if store.uploads.get(sha256) is not mine:
                    raise Problem(409, "superseded", "Another sender of the same blob has come since.")
                size += len(data)
                if size > limit:
                    part.unlink()
                    raise Problem(413, "too-large", f"A blob may have at most {limit} bytes.")
                digest.update(data)
                file.write(data)
            if digest.hexdigest() != sha256:
                part.unlink()
                raise Problem(422, "digest-mismatch", f"The body's SHA-256 is {digest.hexdigest()}, not {sha256}.")
            await asyncio.to_thread(os.fsync, file.fileno())
        if store.uploads.get(sha256) is not mine:
            raise Problem(409, "superseded", "Another sender of the same blob has come since.")
        store.keep_blob(part, sha256)
        return True
    finally:
        if store.uploads.get(sha256) is mine:
            del store.uploads[sha256]


def _hashed(part: Path) -> Any:
    state = hashlib.sha256()
    with part.open("rb") as file:
        while data := file.read(READ_BYTES):
            state.update(data)
    return state
