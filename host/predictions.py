"""The prediction log: what was asked and answered, sent to Lastgood in Arrow batches, off the request's path.

Rows wait in memory until a batch is full or old enough; then the batch is a file in the spool, which outlives the
host, until the server has answered with 2xx. What can't be kept is dropped, oldest first, and counted.
"""

from __future__ import annotations

import contextlib
import io
import logging
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from host.settings import Settings
from host.store import write_atomically
from host.version import Answer, LoadedVersion

log = logging.getLogger("lastgood.host")
SENT_AS = {"FP32": np.float32, "FP64": np.float64, "BYTES": np.object_}
REFUSALS = frozenset({400, 409, 413, 415, 422})
MAX_WAIT_SECONDS = 30.0
BATCHES_IN_MEMORY = 40


@dataclass(frozen=True)
class Entry:
    """One answered request: when (microseconds since 1970, UTC), its rows' ids, what was sent, and the answer."""

    at: int
    ids: list[str]
    columns: dict[str, Sequence[Any]]
    answer: Answer


def _joined(entries: list[Entry], name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([entry.answer.inputs[name] for entry in entries])


def build_batch(version: LoadedVersion, entries: list[Entry]) -> bytes:
    """An Arrow IPC stream of one record batch, with the columns that docs/host.md lists."""
    counts = [len(entry.ids) for entry in entries]
    rows = sum(counts)
    scores = [entry.answer.score for entry in entries if entry.answer.score is not None]
    columns: dict[str, pa.Array] = {
        "id": pa.array([id_ for entry in entries for id_ in entry.ids], pa.string()),
        "ts": pa.array(np.repeat([entry.at for entry in entries], counts), pa.timestamp("us", "UTC")),
        "version": pa.array([version.version] * rows, pa.string()),
        "digest": pa.array([version.digest] * rows, pa.string()),
        "latency_ms": pa.array(np.repeat([e.answer.latency_ms for e in entries], counts).astype(np.float32)),
        "output": pa.array(np.concatenate([entry.answer.output for entry in entries])),
        "score": pa.array(np.concatenate(scores)) if scores else pa.nulls(rows, pa.float32()),
    }
    for name, datatype in version.signature.inputs.items():
        sent = [value for entry in entries for value in entry.columns[name]]
        columns[f"feature.{name}"] = pa.array(np.array(sent, SENT_AS.get(datatype, np.int64)))
        columns[f"input.{name}"] = pa.array(_joined(entries, name))
    batch = pa.record_batch(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


class PredictionLog:
    """Batches, spools and sends. `add` is called on the event loop's thread and never blocks on disk or network."""

    def __init__(self, settings: Settings, spool: Path) -> None:
        self.settings = settings
        self.spool = spool
        self.enabled = settings.logs_predictions
        self.pending: dict[str, tuple[LoadedVersion, float, list[Entry]]] = {}
        self.pending_rows = self.writing_rows = 0
        self.dropped = self.sent = self.failures = 0
        self._changed = threading.Condition()
        self._spooled = threading.Event()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._write_forever, name="log-writer", daemon=True),
            threading.Thread(target=self._send_forever, name="log-sender", daemon=True),
        ]

    def start(self) -> None:
        if self.enabled:
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """Spool what is in memory and try once to send it."""
        if self.enabled:
            with self._changed:
                self._closing.set()
                self._changed.notify()
            for thread in self._threads:
                thread.join(10)

    def add(self, version: LoadedVersion, ids: list[str], columns: dict[str, Sequence[Any]], answer: Answer) -> None:
        """Keep one answered request for the next batch of its version."""
        if not self.enabled:
            return
        entry = Entry(time.time_ns() // 1000, ids, columns, answer)
        with self._changed:
            if self.pending_rows + len(ids) > self.settings.log_batch_rows * BATCHES_IN_MEMORY:
                self.dropped += len(ids)
                return
            self.pending.setdefault(version.digest, (version, time.monotonic(), []))[2].append(entry)
            self.pending_rows += len(ids)
            if self.pending_rows >= self.settings.log_batch_rows:
                self._changed.notify()

    def _take(self) -> list[tuple[LoadedVersion, list[Entry]]]:
        """Wait for rows that are enough or old enough, and take them; at closing, take all there are."""
        settings = self.settings
        with self._changed:
            while not self._closing.is_set():
                oldest = min((since for _, since, _ in self.pending.values()), default=None)
                left = None if oldest is None else oldest + settings.log_batch_seconds - time.monotonic()
                if self.pending_rows >= settings.log_batch_rows or (left is not None and left <= 0):
                    break
                self._changed.wait(settings.log_batch_seconds if left is None else left)
            taken = [(version, entries) for version, _, entries in self.pending.values()]
            self.pending = {}
            self.writing_rows, self.pending_rows = self.pending_rows, 0
            return taken

    def _write_forever(self) -> None:
        while True:
            closing = self._closing.is_set()
            for version, entries in self._take():
                rows = sum(len(entry.ids) for entry in entries)
                name = f"{time.time_ns():020d}_{rows}_{uuid.uuid4()}.arrow"
                try:
                    write_atomically(self.spool / name, build_batch(version, entries))
                except Exception:
                    # The thread must outlive a batch that can't be built or written: the next one may fare better.
                    self.dropped += rows
                    log.exception("A batch of %d predictions could not be kept", rows)
                self._make_room()
                self.writing_rows -= rows
                self._spooled.set()
            if closing:
                return

    def _files(self) -> list[Path]:
        return sorted(self.spool.glob("*.arrow"))

    def _make_room(self) -> None:
        """Drop the oldest batches until the rest fit. The sender may be removing those that it has sent meanwhile."""
        sizes = {}
        for file in self._files():
            with contextlib.suppress(FileNotFoundError):
                sizes[file] = file.stat().st_size
        total = sum(sizes.values())
        for file in list(sizes)[:-1]:
            if total <= self.settings.log_spool_bytes:
                return
            total -= sizes[file]
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
                self.dropped += _rows(file)

    def _send_forever(self) -> None:
        headers = {"Authorization": f"Bearer {self.settings.ingest_token}"}
        wait = 0.0
        refused: dict[Path, tuple[float, float]] = {}
        with httpx.Client(timeout=httpx.Timeout(10, connect=2), headers=headers, trust_env=False) as client:
            while True:
                last = self._closing.is_set() and not self._threads[0].is_alive()
                self._spooled.clear()
                reached = all(self._send(client, file, refused) for file in self._files())
                if last:
                    return
                wait = 0.0 if reached else min(MAX_WAIT_SECONDS, max(0.25, wait * 2))
                if self._closing.is_set():
                    self._threads[0].join(10)
                elif reached:
                    self._spooled.wait(1.0)
                else:
                    self._closing.wait(wait * random.uniform(0.5, 1.0))

    def _send(self, client: httpx.Client, file: Path, refused: dict[Path, tuple[float, float]]) -> bool:
        """Send one batch. False when the server can't be reached now, which holds the batches behind it back, too.

        A batch that the server refuses waits by itself, so that it holds up no other.
        """
        again, pause = refused.get(file, (0.0, 5.0))
        if time.monotonic() < again:
            return True
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return True
        try:
            answer = client.post(
                f"{self.settings.server}/api/v1/ingest/predictions/",
                params={"endpoint": self.settings.endpoint, "host": self.settings.name},
                content=data,
                headers={
                    "Content-Type": "application/vnd.apache.arrow.stream",
                    "Idempotency-Key": file.stem.rsplit("_", 1)[1],
                },
            )
        except httpx.HTTPError as error:
            self.failures += 1
            log.warning("Predictions could not be sent: %s", error)
            return False
        if answer.is_success:
            file.unlink(missing_ok=True)
            refused.pop(file, None)
            self.sent += _rows(file)
            return True
        self.failures += 1
        log.warning("The server answered %d to a batch of predictions; it is kept.", answer.status_code)
        if answer.status_code in REFUSALS:
            refused[file] = (time.monotonic() + pause, min(600.0, pause * 2))
            return True
        return False

    def figures(self) -> dict[str, tuple[str, str, float]]:
        """The log's metrics: name -> (kind, help, value)."""
        unsaved = self.pending_rows + self.writing_rows
        spooled = sum(_rows(file) for file in self._files())
        return {
            "pending_rows": ("gauge", "Rows in memory, lost if the host is killed now.", unsaved),
            "spooled_rows": ("gauge", "Rows on disk that wait to be sent.", spooled),
            "sent_rows_total": ("counter", "Rows that the server has taken.", self.sent),
            "dropped_rows_total": ("counter", "Rows dropped because a bound was reached.", self.dropped),
            "send_failures_total": ("counter", "Batches not taken by the server; they are sent again.", self.failures),
        }


def _rows(file: Path) -> int:
    return int(file.name.split("_")[1])
