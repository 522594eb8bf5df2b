"""How fast the bundled host loads a model's weights that lie in the page cache, against only reading the same file.

A model of 1 GiB (SIZE=bytes for another) is staged on a host of its own, then loaded and taken out again. Loading is
the whole call: the file is read into memory, its SHA-256 taken of that memory, the header and every number checked, the
network built and tried once. Plain reading is `read()` of the file into new memory, in turn with the loads. The figure
is the ratio of the medians. Target: at least 0.7.

`floor` is the ratio that hashing alone would allow: plain reading against one pass of SHA-256 over the same bytes.
"""

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.large import table_model
from bench.report import machine, report
from bench.warm_switch import TOKEN, hosts

ROUNDS, TARGET = 7, 0.7
SIZE = int(os.environ.get("SIZE") or 2**30)


def seconds_of(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def library_load(path: Path) -> None:
    from safetensors.torch import load_file

    for tensor in load_file(path).values():
        tensor.clone()


def main() -> int:
    from registry.serving.base import HostAddress
    from registry.serving.bundled import BundledDriver

    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        manifest, blobs = table_model(folder / "made", SIZE, model="bench")
        weights = max(blobs.values(), key=lambda path: path.stat().st_size)
        with hosts(folder, ("h1",)) as ports:
            driver, address = BundledDriver(), HostAddress(f"http://127.0.0.1:{ports['h1']}", TOKEN)
            driver.stage(address, "bench", "1", manifest, blobs)
            loads, reads, hashes, library = [], [], [], []
            for _ in range(ROUNDS):
                reads.append(seconds_of(weights.read_bytes))
                loads.append(seconds_of(lambda: driver.load(address, "bench", "1")))
                driver.unload(address, "bench", "1")
                library.append(seconds_of(lambda: library_load(weights)))
                data = weights.read_bytes()
                hashes.append(seconds_of(lambda data=data: hashlib.sha256(data).digest()))
                del data
        size = weights.stat().st_size
    read, load = statistics.median(reads), statistics.median(loads)
    floor = min(1.0, read / statistics.median(hashes))
    peers = {
        "bytes": size,
        "load_bytes_per_second": round(size / load),
        "read_bytes_per_second": round(size / read),
        "library_ratio_without_digest": round(read / statistics.median(library), 3),
    }
    met = report("safetensors_load_ratio", read / load, "x", TARGET, at_least=True, on=on, floor=floor, peers=peers)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
