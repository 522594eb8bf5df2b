"""How long a rollback stands still when the worker that carries it out is killed.

The whole product runs with three bundled hosts, which answer their callers meanwhile. A proxy before the first host
holds the call that would switch it; the worker is killed (SIGKILL) while it waits, with the run's lease fresh in its
hand, and the call is dropped with it. The figure is the time from the kill until the run's last gate has passed, the
slowest of three. Target: at most 15 s.

`floor` is the lease, which a worker that only hangs would cost: one that has died is known by its session, which ends.
"""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from bench.report import machine, report
from bench.warm_switch import PAUSE, Bench, Client, hosts
from config.embedded.ports import free_port
from config.embedded.stack import Stack
from tests.faults.proxy import Proxy

ROUNDS, SECONDS = 3, 15.0


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        stack = Stack(folder / "var", port=free_port(), given={})
        try:
            stack.start()
            os.environ.update(stack.env)
            with hosts(folder) as ports:
                return measure(folder, ports, stack, on)
        finally:
            stack.stop()
            stack.remove_data()


def measure(folder: Path, ports: dict[str, int], stack: Stack, on: str) -> int:
    import django

    django.setup()
    from django.conf import settings

    proxy = Proxy(f"http://127.0.0.1:{ports['h1']}", free_port())
    bench = Bench(folder, ports)
    bench.change_to(bench.versions[0])
    lead_to(proxy.url)
    ended = threading.Event()
    digests = {version.digest for version in bench.versions}
    clients = [Client(port, ended, digests, PAUSE) for port in ports.values()]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        took = [once(bench, proxy, stack, turn) for turn in range(ROUNDS)]
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        proxy.close()
    floor = settings.LASTGOOD_LEASE_SECONDS
    met = report("resume_after_kill_seconds", max(took), "s", SECONDS, at_least=False, on=on, floor=floor)
    return 0 if met else 1


def lead_to(address: str) -> None:
    """The first host is known by the proxy's address from now on."""
    from registry.models import Host

    Host.objects.filter(name="h1").update(address=address)


def once(bench: Bench, proxy: Proxy, stack: Stack, turn: int) -> float:
    proxy.held, proxy.let_go = threading.Event(), threading.Event()
    proxy.hold_before = "/default"
    killed: list[float] = []

    def kill() -> None:
        proxy.held.wait(120)
        os.kill(stack.pid("worker-rollback"), signal.SIGKILL)
        killed.append(time.monotonic())
        proxy.hold_before = ""
        proxy.let_go.set()

    killer = threading.Thread(target=kill)
    killer.start()
    bench.change_to(bench.versions[(turn + 1) % 2])
    ended = time.monotonic()
    killer.join()
    return ended - killed[0]


if __name__ == "__main__":
    raise SystemExit(main())
