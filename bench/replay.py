"""How many rows a second a worker replays through a candidate: the demo's first version on one bundled host, asked over
HTTP in the batches of a ranking, its answers read back. Target: at least 20,000 rows a second.

`floor` is what the same network does with the same rows in one process, with nothing of ours between.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.report import machine, report
from bench.warm_switch import ROOT, TOKEN, hosts

ROWS, ROUNDS, TARGET = 20_000, 5, 20_000.0


def main() -> int:
    on = machine()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, hosts(Path(name), ("h1",)) as ports:
        value, floor = measure(Path(name), ports["h1"])
    return 0 if report("replay_rows_per_second", value, "rows/s", TARGET, at_least=True, on=on, floor=floor) else 1


def measure(folder: Path, port: int) -> tuple[float, float]:
    """Rows a second of the fastest round, through the host and in this process."""
    import json

    from demo.artifacts import MODEL
    from demo.build import cached
    from demo.census import people
    from demo.training import predict
    from incidents.rollback import live
    from incidents.rollback.fleet import Remote
    from registry.models import Host, Version
    from registry.serving.base import HostAddress
    from registry.serving.bundled import BundledDriver
    from tests.demo.story import network_of

    made = cached(ROOT / "var" / "demo-cache", "recode")[0]
    driver, address = BundledDriver(), HostAddress(f"http://127.0.0.1:{port}", TOKEN)
    files = {}
    for sha256, data in made.files.items():
        files[sha256] = folder / sha256
        files[sha256].write_bytes(data)
    driver.stage(address, MODEL, "1", made.manifest, files)
    driver.load(address, MODEL, "1")
    remote = Remote(Host(name="h1"), driver, address, MODEL)
    version = Version(number=1, signature=json.loads(made.manifest)["signature"])
    group = people((2017,))
    columns = {name: column[:ROWS].tolist() for name, column in group.features.items()}
    network = network_of(made)
    took, alone = [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        live.predict(remote, version, columns, ROWS)
        took.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        predict(network, group)
        alone.append((time.perf_counter() - begun) / len(group) * ROWS)
    return ROWS / min(took), ROWS / min(alone)


if __name__ == "__main__":
    sys.exit(main())
