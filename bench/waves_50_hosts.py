"""How much longer a rollout in waves takes than the loading that it waits for.

The whole product runs with 50 light hosts (`bench/light_host.py`), each a process with a protocol server of its own: no
GPU machine's worth of work is simulated but the time that loading takes. A rollback goes over them in 5 waves of 10; in
each wave the loads take 2 to 4 s, so that the slowest chain (the slowest load of each wave, one after the other) is
20 s. Preflight had loaded the version everywhere, and the hosts have dropped it again, as hosts do that lack the memory
for both. Waves do not soak; every other gate is asked. Target: at most 1.05 times the slowest chain, from the last
approval until the last wave is done.

It can be less than the chain: while a wave's hosts come through, one of the next wave begins to load for each, the one
that took longest before first. `floor` is the chain asked of the hosts by a plain thread per host and nothing else:
load and switch, wave by wave. What the releases before it left to do, such as looking at every host, is waited for.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.report import machine, report
from bench.warm_switch import ROOT, TOKEN, Bench, processes, wait_for_host
from config.embedded.ports import free_port
from config.embedded.stack import Stack

WAVES, HOSTS_A_WAVE = 5, 10
CHAIN_SECONDS = 20.0
PATIENCE = 300.0
RATIO = 1.05


@contextmanager
def light_hosts() -> Iterator[dict[str, int]]:
    """The hosts on free ports, by name, in the order of their waves."""
    ports: dict[str, int] = {}
    with processes() as running:
        for number in range(1, WAVES * HOSTS_A_WAVE + 1):
            name = f"h{number}" if number == 1 else f"h{number:02}"
            ports[name] = free_port(not_in=frozenset(ports.values()))
            command = [sys.executable, "-S", "-m", "bench.light_host", str(ports[name]), name, TOKEN]
            running.append(subprocess.Popen(command, cwd=ROOT))
        for port in ports.values():
            wait_for_host(port)
        yield ports


def load_seconds(place: int) -> float:
    """Of the host in this place of its wave: from half of the slowest to the slowest."""
    slowest = CHAIN_SECONDS / WAVES
    return slowest * (0.5 + 0.5 * place / (HOSTS_A_WAVE - 1))


def forget(ports: dict[str, int]) -> None:
    """Every host drops what it does not serve, and takes its time to load from now on."""
    for place, port in enumerate(ports.values()):
        ask(port, "/bench/forget", {"load_seconds": load_seconds(place % HOSTS_A_WAVE)})


def ask(port: int, path: str, body: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path} on port {port} answered {answer.status}: {answer.read()!r}")
    answer.read()
    connection.close()


def bare(ports: list[int], version: Any, fence: int) -> float:
    """The chain without Lastgood."""

    def change(port: int) -> None:
        ask(port, f"/lastgood/v1/models/bench/versions/{version.number}/load", {})
        target = {"version": str(version.number), "digest": version.digest, "fence": fence}
        ask(port, "/lastgood/v1/models/bench/default", target)

    begun = time.perf_counter()
    with ThreadPoolExecutor(HOSTS_A_WAVE) as pool:
        for start in range(0, len(ports), HOSTS_A_WAVE):
            list(pool.map(change, ports[start : start + HOSTS_A_WAVE]))
    return time.perf_counter() - begun


def parts(plan: Any) -> dict[str, float]:
    """Where the time went, in seconds over all waves but what comes before the first load: from one wave's last host to
    the next one's last load begun; loading; from the last load to the last host done."""
    from incidents.rollback.models import HostStep

    waves: dict[int, list[dict[str, datetime]]] = {}
    for step in HostStep.objects.filter(run__plan=plan).select_related("wave"):
        marks = {name: datetime.fromisoformat(at) for name, at in step.marks.items()}
        waves.setdefault(step.wave.index, []).append(marks)
    names = ("staged", "loaded", "done")
    last = [{name: max(marks[name] for marks in waves[index]) for name in names} for index in sorted(waves)]
    between = [(now["staged"] - before["done"]).total_seconds() for before, now in pairwise(last)]
    return {
        "between_waves_seconds": round(sum(between), 2),
        "loading_seconds": round(sum((wave["loaded"] - wave["staged"]).total_seconds() for wave in last), 2),
        "after_loading_seconds": round(sum((wave["done"] - wave["loaded"]).total_seconds() for wave in last), 2),
    }


def settle(bench: Bench) -> None:
    """Wait until the hosts have been looked at and probed after the releases before."""
    from django.db.models import Q
    from django.db.models.functions import Now

    due = bench.endpoint.placements.filter(Q(observe_due_at__lte=Now()) | Q(golden_due_at__lte=Now()))
    bench.poll(lambda: not due.exists(), PATIENCE, lambda: list(due.values_list("host__name", flat=True)))


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        stack = Stack(folder / "var", port=free_port(), given={"LASTGOOD_OBSERVE_SECONDS": "600"})
        try:
            stack.start()
            os.environ.update(stack.env)
            with light_hosts() as ports:
                return measure(folder, ports, on)
        finally:
            stack.stop()
            stack.remove_data()


def measure(folder: Path, ports: dict[str, int], on: str) -> int:
    import django

    django.setup()
    forget(ports)
    bench = Bench(folder, ports)
    sizes = {"wave_sizes": [HOSTS_A_WAVE] * WAVES, "min_requests": 0}
    for version in bench.versions:
        bench.carried_out(bench.proposed(version, **sizes), PATIENCE)
    plan = bench.proposed(bench.versions[0], **sizes, kind="rollback")
    forget(ports)
    settle(bench)
    took = bench.carried_out(plan, PATIENCE).ended
    forget(ports)
    floor = bare(list(ports.values()), bench.versions[1], fence=1_000)
    peers = {"hosts": len(ports), "waves": WAVES, "seconds": round(took, 2), "chain_seconds": CHAIN_SECONDS}
    peers |= parts(plan)
    name, value = "waves_50_hosts_overhead", took / CHAIN_SECONDS
    met = report(name, value, "x", RATIO, at_least=False, on=on, floor=floor / CHAIN_SECONDS, peers=peers)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
