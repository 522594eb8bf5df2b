"""Blobs that the host fetches itself, from sources that the control side names: what is here already is kept, the rest
is asked for, hashed as it comes, and dropped where it is not what the manifest says."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from host.problems import Problem
from host.sources import (
    SETTING,
    Network,
    Source,
    SourceBroke,
    SourceBusy,
    SourceRefused,
    check_source,
    pieces,
)
from host.store import Store
from host.uploads import Incoming, standing

log = logging.getLogger("lastgood.host")
AT_ONCE = 2
TRIES = 5
PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 300.0
"""A source that wants to be asked again later is asked for so long."""
SLOW_SECONDS, SLOW_BYTES = 30.0, 2**20
"""A source that brings fewer bytes within so many seconds is taken for one that broke off."""
MOST_FAILURES = 64
"""Of so many blobs it is kept why they could not be fetched."""


@dataclass
class Fetch:
    """A blob that is being fetched. `size` in bytes, by the manifest."""

    sha256: str
    size: int
    sources: tuple[Source, ...]


class Fetches:
    """The host's fetches. `begin` and `standing` return at once; the work is done on threads of its own."""

    def __init__(self, store: Store, networks: Sequence[Network], limit: int) -> None:
        self.store, self.networks, self.limit = store, tuple(networks), limit
        self._pool = ThreadPoolExecutor(AT_ONCE, "fetch")
        self._under_way: dict[str, Fetch] = {}
        self._failed: dict[str, str] = {}
        self._changing = threading.Lock()
        self._closing = threading.Event()

    def begin(self, sha256: str, wish: dict[str, Any]) -> dict[str, Any]:
        """See to it that a blob is being fetched; how it stands. One that is under way already goes on, and takes the
        sources of this call when those it has are used up.

        409 `fetches-nothing` where no networks are set, 400 for a wish that is none, 413 for a blob that is too large.
        """
        if not self.networks:
            raise Problem(409, "fetches-nothing", f"This host fetches nothing itself: {SETTING} is not set.")
        fetch = Fetch(sha256, *self._read(wish))
        if not standing(self.store, sha256)["whole"]:
            with self._changing:
                self._failed.pop(sha256, None)
                known = self._under_way.setdefault(sha256, fetch)
                known.sources = fetch.sources
                if known is fetch:
                    self._pool.submit(self._run, fetch)
        return self.standing(sha256)

    def standing(self, sha256: str) -> dict[str, Any]:
        """What `host.uploads.standing` says, whether it is being fetched, and why the last fetch of it failed."""
        with self._changing:
            fetching, failed = sha256 in self._under_way, self._failed.get(sha256, "")
        return standing(self.store, sha256) | {"fetching": fetching, "failed": failed}

    def close(self) -> None:
        """End what is under way; what came of it stays."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, wish: dict[str, Any]) -> tuple[int, tuple[Source, ...]]:
        size, named = wish.get("size"), wish.get("from")
        if type(size) is not int or size < 0:
            raise Problem(400, "bad-request", "A fetch needs 'size', the blob's bytes by the manifest.")
        if size > self.limit:
            raise Problem(413, "too-large", f"A blob may have at most {self.limit} bytes.")
        if not isinstance(named, list) or not 0 < len(named) <= 8:
            raise Problem(400, "bad-request", "A fetch needs 'from', a list of one to eight sources.")
        return size, tuple(_source(entry) for entry in named)

    def _run(self, fetch: Fetch) -> None:
        failed = "The host failed on this; its log says why."
        try:
            with Incoming(self.store, fetch.sha256, fetch.size) as incoming:
                self._bring(fetch, incoming)
            failed = ""
        except (Problem, SourceRefused) as error:
            failed = str(error)
        except Exception:
            log.exception("fetch of %s failed", fetch.sha256)
        finally:
            with self._changing:
                del self._under_way[fetch.sha256]
                if failed:
                    self._failed[fetch.sha256] = failed
                    while len(self._failed) > MOST_FAILURES:
                        del self._failed[next(iter(self._failed))]

    def _bring(self, fetch: Fetch, incoming: Incoming) -> None:
        """From the first source that has it. Raises SourceRefused with what each of them said."""
        said: list[str] = []
        tried: tuple[Source, ...] = ()
        while tried != fetch.sources:
            tried = fetch.sources
            for source in tried:
                try:
                    self._from(source, fetch, incoming)
                    return
                except SourceRefused as refusal:
                    said.append(str(refusal))
                except Problem as problem:
                    if problem.type == "superseded":
                        raise
                    said.append(f"{source.place} has another file: {problem.detail}")
        raise SourceRefused(" ".join(dict.fromkeys(said)))

    def _from(self, source: Source, fetch: Fetch, incoming: Incoming) -> None:
        begun, resumed = time.monotonic(), incoming.size if incoming.size <= fetch.size else 0
        incoming.go_on(resumed)
        failures, waits_since = 0, begun
        while incoming.size < fetch.size:
            before = incoming.size
            try:
                self._add(source, fetch, incoming)
                if incoming.size < fetch.size:
                    raise SourceBroke(f"{source.place} ended after {incoming.size} of {fetch.size} bytes.")
            except SourceBusy as busy:
                if time.monotonic() - waits_since > PATIENCE_SECONDS:
                    raise SourceRefused(f"{source.place} was busy for {PATIENCE_SECONDS:g} s.") from None
                self._rest(busy.seconds)
                continue
            except SourceBroke as broken:
                failures = 1 if incoming.size - before >= SLOW_BYTES else failures + 1
                if failures >= TRIES:
                    raise SourceRefused(str(broken)) from None
                self._rest(PAUSE_SECONDS * 2**failures)
            waits_since = time.monotonic()
        try:
            incoming.keep()
        except Problem as problem:
            if problem.type != "digest-mismatch" or not resumed:
                raise
            # What was here of an earlier time may be what is damaged: once more, from the start.
            self._from(source, fetch, incoming)
            return
        facts = {"bytes": fetch.size, "from": source.place, "here": resumed, "sha256": fetch.sha256}
        log.info("fetch %s", json.dumps(facts | {"seconds": round(time.monotonic() - begun, 3)}, sort_keys=True))

    def _add(self, source: Source, fetch: Fetch, incoming: Incoming) -> None:
        marked_at, marked = time.monotonic(), incoming.size
        for piece in pieces(source, incoming.size, fetch.size, self.networks):
            incoming.add(piece)
            if self._closing.is_set():
                raise SourceRefused("The host is being stopped.")
            if (now := time.monotonic()) - marked_at > SLOW_SECONDS:
                if incoming.size - marked < SLOW_BYTES and incoming.size < fetch.size:
                    raise SourceBroke(f"{source.place} came too slowly.")
                marked_at, marked = now, incoming.size

    def _rest(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise SourceRefused("The host is being stopped.")


def _source(entry: Any) -> Source:
    url, token = (entry.get("url"), entry.get("token", "")) if isinstance(entry, dict) else (None, None)
    if not isinstance(url, str) or not isinstance(token, str):
        raise Problem(400, "bad-request", "A source needs 'url', and may have 'token', both texts.", field="from")
    source = Source(url, token)
    try:
        check_source(source)
    except ValueError as error:
        raise Problem(400, "bad-request", str(error), field="from") from None
    return source
