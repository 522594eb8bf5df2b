"""Live traffic: the people of 2017 and 2018, one request each, to the hosts' ordinary inference port; labels later.

Run as `python -m demo.traffic`, told by its environment where to send. Every second it writes what it saw, as a client,
to a statistics file: requests, failures and right answers by version.
"""

import asyncio
import json
import os
import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

import httpx

from demo.artifacts import MODEL
from demo.census import FEATURES, TRAFFIC_SEED, traffic

LABEL_DELAY_SECONDS = 1.5
MOST_IN_FLIGHT = 24
TIMEOUT = httpx.Timeout(10, connect=2)


def for_ever() -> Iterator[tuple[dict[str, int], int]]:
    """2017 and 2018, and once they have all been sent (after half an hour), again in another order."""
    return chain.from_iterable(traffic(TRAFFIC_SEED + 2 * lap) for lap in count())


@dataclass
class Seen:
    """What the client saw. `buckets` maps a Unix second to {version: [answers, right answers]}."""

    requests: int = 0
    failed: int = 0
    answered_by: Counter[str] = field(default_factory=Counter)
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    buckets: dict[int, dict[str, list[int]]] = field(default_factory=dict)

    def answer(self, version: str, right: bool) -> None:
        self.answered_by[version] += 1
        counts = self.buckets.setdefault(int(time.time()), {}).setdefault(version, [0, 0])
        counts[0] += 1
        counts[1] += right

    def write(self, path: Path) -> None:
        body = {
            "requests": self.requests,
            "failed": self.failed,
            "answered_by": dict(self.answered_by),
            "failures": list(self.failures),
            "buckets": self.buckets,
        }
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(body))
        temporary.replace(path)


@dataclass(frozen=True)
class Plan:
    hosts: list[str]
    server: str
    token: str
    endpoint: str
    rate: float
    statistics: Path


class Client:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen = Seen()
        self.labels: deque[tuple[float, str, int]] = deque()
        self.stopping = asyncio.Event()
        self.free = asyncio.Semaphore(MOST_IN_FLIGHT)

    async def run(self) -> None:
        """Send at the plan's rate until told to stop. A slow answer does not slow the others down, but no more than
        MOST_IN_FLIGHT wait at once: what a busy machine can't take in time is sent later, never dropped."""
        async with httpx.AsyncClient(timeout=TIMEOUT) as http, asyncio.TaskGroup() as group:
            group.create_task(self._report(http))
            due = time.monotonic()
            for sent, (person, label) in enumerate(for_ever()):
                await self.free.acquire()
                due = max(due + 1 / self.plan.rate, time.monotonic() - 1)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), max(0, due - time.monotonic()))
                if self.stopping.is_set():
                    return
                host = self.plan.hosts[sent % len(self.plan.hosts)]
                task = group.create_task(self._ask(http, host, person, label))
                task.add_done_callback(lambda _: self.free.release())

    async def _ask(self, http: httpx.AsyncClient, host: str, person: dict[str, int], label: int) -> None:
        name = str(uuid.uuid4())
        inputs = [{"name": f, "shape": [1], "datatype": "INT64", "data": [person[f]]} for f in FEATURES]
        self.seen.requests += 1
        try:
            response = await http.post(f"{host}/v2/models/{MODEL}/infer", json={"id": name, "inputs": inputs})
            response.raise_for_status()
            body = response.json()
            outputs = {output["name"]: output["data"][0] for output in body["outputs"]}
            self.seen.answer(body["model_version"], outputs["employed"] == label)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.seen.failed += 1
            self.seen.failures.append(f"{datetime.now(UTC):%H:%M:%S} {host} {type(error).__name__}: {error}"[:300])
            return
        self.labels.append((time.monotonic() + LABEL_DELAY_SECONDS, name, label))

    async def _report(self, http: httpx.AsyncClient) -> None:
        while not self.stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 1)
            self.seen.write(self.plan.statistics)
            await self._send_labels(http)

    async def _send_labels(self, http: httpx.AsyncClient) -> None:
        """Hand in the truth about those answered a while ago; what was not taken is handed in again."""
        ready = []
        while self.labels and self.labels[0][0] <= time.monotonic():
            ready.append(self.labels.popleft())
        if not ready:
            return
        now = datetime.now(UTC).isoformat()
        lines = "\n".join(json.dumps({"id": name, "label": label, "ts": now}) for _, name, label in ready)
        headers = {
            "Authorization": f"Bearer {self.plan.token}",
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": str(uuid.uuid4()),
        }
        url = f"{self.plan.server}/api/v1/ingest/labels/"
        try:
            response = await http.post(url, params={"endpoint": self.plan.endpoint}, content=lines, headers=headers)
            response.raise_for_status()
        except httpx.HTTPError:
            self.labels.extendleft(reversed(ready))


async def main() -> None:
    names = os.environ
    client = Client(
        Plan(
            hosts=names["TRAFFIC_HOSTS"].split(","),
            server=names["LASTGOOD_SERVER"],
            token=names["LASTGOOD_INGEST_TOKEN"],
            endpoint=names["TRAFFIC_ENDPOINT"],
            rate=float(names["TRAFFIC_RATE"]),
            statistics=Path(names["TRAFFIC_STATISTICS"]),
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, client.stopping.set)
    await client.run()
    client.seen.write(client.plan.statistics)


if __name__ == "__main__":
    asyncio.run(main())
