"""How fast the bundled host brings a model of seven billion parameters into a GPU, and switches it under load.

14 GB of bfloat16 weights are made on the spot (PARAMETERS=number for another size), staged on a host of its own,
dropped from the page cache where that is allowed, and loaded cold; a second version is loaded beside it and both are
kept warm; then the default is switched between them while four clients ask for one row after the other. Everything is
measured through the host's own protocol. Without CUDA nothing is measured, unless PARAMETERS is given: then the CPU
stands in, to see that it works.

`floor` of the load is the host-to-device copy rate, measured in the same run by copying the same number of bytes (4 GiB
at most) from ordinary memory; its peers say what pinned memory gives. There is no target: the figure is a record.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.host_switch import percentile
from bench.large import chain_model
from bench.report import machine, report
from bench.warm_switch import TOKEN, Client, hosts

PARAMETERS = int(os.environ.get("PARAMETERS") or 7_000_000_000)
SWITCHES, CLIENTS = 50, 4


def device() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU only"


def copy_rates(size: int) -> dict[str, float]:
    """Bytes a second from memory to the device, from ordinary and from pinned memory; to other memory on the CPU."""
    import torch

    cuda = torch.cuda.is_available()
    target = torch.empty(size, dtype=torch.uint8, device="cuda" if cuda else "cpu")
    rates = {}
    for name in ("ordinary", "pinned") if cuda else ("ordinary",):
        source = torch.ones(size, dtype=torch.uint8, pin_memory=name == "pinned")
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            target.copy_(source)
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
        rates[name] = size / min(times)
    return rates


def forget(paths: list[Path]) -> None:
    """Ask the kernel to drop these files from its cache."""
    for path in paths:
        with suppress(OSError), path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> int:
    import torch

    if not torch.cuda.is_available() and "PARAMETERS" not in os.environ:
        print("gpu_load: there is no CUDA device here, so nothing is measured.", file=sys.stderr)
        return 0
    on = f"{machine()}, {device()}"
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        made = [chain_model(folder / str(seed), PARAMETERS, model="bench", seed=seed) for seed in (1, 2)]
        size = max(path.stat().st_size for path in made[0][1].values())
        rates = copy_rates(min(size, 4 * 2**30))
        with hosts(folder, ("h1",)) as ports:
            loads, switches, client = measure(folder, ports["h1"], made)
    seconds = {"seconds_cold": round(loads[0], 2), "seconds_beside_another": round(loads[1], 2)}
    peers: dict[str, Any] = {"bytes": size, **seconds}
    peers |= {f"{kind}_copy_bytes_per_second": round(rate) for kind, rate in rates.items()}
    rate = size / loads[0]
    floor = rates["ordinary"]
    met = report("gpu_load_bytes_per_second", rate, "B/s", 0, at_least=True, on=on, floor=floor, peers=peers)
    asked = {"median_ms": round(statistics.median(switches), 3), "requests": client.requests}
    worst = percentile(switches, 0.99)
    met &= report("gpu_switch_p99_ms", worst, "ms", 5, at_least=False, on=on, peers=asked)
    met &= report("gpu_switch_failed_requests", len(client.failed), "requests", 0, at_least=False, on=on, peers=asked)
    return 0 if met else 1


def measure(folder: Path, port: int, made: list[Any]) -> tuple[list[float], list[float], Client]:
    """Seconds of both loads, milliseconds of each switch, and what the callers saw meanwhile."""
    from registry.serving.base import HostAddress
    from registry.serving.bundled import BundledDriver
    from tests.host.artifacts import digest_of

    driver, address = BundledDriver(), HostAddress(f"http://127.0.0.1:{port}", TOKEN)
    loads, digests = [], [digest_of(manifest) for manifest, _ in made]
    for number, (manifest, blobs) in enumerate(made, 1):
        driver.stage(address, "bench", str(number), manifest, blobs)
        forget(list((folder / "h1" / "blobs").iterdir()))
        begun = time.perf_counter()
        driver.load(address, "bench", str(number))
        loads.append(time.perf_counter() - begun)
    driver.switch(address, "bench", "1", digests[0], 1)
    ended = threading.Event()
    clients = [Client(port, ended, set(digests), 0.0) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    switches = []
    for fence in range(2, SWITCHES + 2):
        begun = time.perf_counter()
        driver.switch(address, "bench", str(fence % 2 + 1), digests[fence % 2], fence)
        switches.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join()
    seen = clients[0]
    for other in clients[1:]:
        seen.requests += other.requests
        seen.failed += other.failed
    return loads, switches, seen


if __name__ == "__main__":
    sys.exit(main())
