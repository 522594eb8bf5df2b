"""How long the bundled host takes to move its default pointer from one warm version to another.

One host, two small versions in memory; a thousand switches forth and back, each under a fence of its own, each a whole
HTTP call from the driver that Lastgood uses. The figure is the 99th of a hundred. Target: at most 5 ms.

`floor` is the 99th of a hundred of what makes a switch survive a power cut: a small file written aside, synced, renamed
over the old one, and its folder synced, in the same folder.
"""

import sys
import tempfile
import time
from pathlib import Path

from bench.report import machine, report
from bench.warm_switch import TOKEN, hosts

SWITCHES, TARGET_MS = 1_000, 5.0


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def durable_writes(folder: Path, number: int) -> list[float]:
    from host.store import write_atomically

    took = []
    for turn in range(number):
        begun = time.perf_counter()
        write_atomically(folder / "pointer", b"%d" % turn * 20)
        took.append((time.perf_counter() - begun) * 1000)
    return took


def main() -> int:
    from registry.serving.base import HostAddress
    from registry.serving.bundled import BundledDriver
    from tests.host.artifacts import digest_of, make_model

    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        with hosts(folder, ("h1",)) as ports:
            driver, address = BundledDriver(), HostAddress(f"http://127.0.0.1:{ports['h1']}", TOKEN)
            digests = []
            for number in (1, 2):
                manifest, blobs = make_model(folder / f"made-{number}", number, model="bench")
                driver.stage(address, "bench", str(number), manifest, blobs)
                driver.load(address, "bench", str(number))
                digests.append(digest_of(manifest))
            took = []
            for fence in range(1, SWITCHES + 1):
                begun = time.perf_counter()
                driver.switch(address, "bench", str(fence % 2 + 1), digests[fence % 2], fence)
                took.append((time.perf_counter() - begun) * 1000)
        floor = percentile(durable_writes(folder, SWITCHES), 0.99)
    peers = {"median_ms": round(percentile(took, 0.5), 3), "switches": SWITCHES}
    value = percentile(took, 0.99)
    met = report("host_switch_p99_ms", value, "ms", TARGET_MS, at_least=False, on=on, floor=floor, peers=peers)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
