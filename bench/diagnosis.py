"""How long it takes from an incident to its diagnosis: examined, its targets replayed and ranked, with the evidence.

The demo's `recode` fault as it happens: three bundled hosts, version 2 live for three minutes with 750 labelled answers
in each, version 1 last-good. Timed is what the worker does once the incident is open: it reads the rows, compares them,
asks the live version and version 1 for all of them and their holdouts on a host, composes version 2 with version 1's
preprocessing, loads it and asks it as well. Target: at most 5 s. The verdict has to be the right one.
"""

import os
import sys
import tempfile
from pathlib import Path

from bench.audit_events_per_second import database
from bench.report import machine, report
from bench.warm_switch import ROOT

TARGET = 5.0
HOSTS = ("h1", "h2", "h3")


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ |= env | {"DJANGO_SETTINGS_MODULE": "config.settings", "LASTGOOD_VAR": name}
        import django
        from django.db import connections

        django.setup()
        try:
            seconds, word = measure(Path(name))
        finally:
            connections.close_all()
    if word != "a bad version":
        raise RuntimeError(f"The diagnosis was {word}.")
    return 0 if report("diagnosis_seconds", seconds, "s", TARGET, at_least=False, on=on) else 1


def measure(folder: Path) -> tuple[float, str | None]:
    """Seconds from the incident to its ranked targets, and the verdict."""
    import numpy as np

    from demo.build import cached
    from demo.census import people
    from tests.host.fixtures import HostProcess
    from tests.verdicts.town import Situation, Town

    first, recode = cached(ROOT / "var" / "demo-cache", "recode")
    group = people((2017,))
    crowd = group.take(np.random.default_rng(17).permutation(len(group)))
    processes = [HostProcess(folder / "hosts" / name, name, {}) for name in HOSTS]
    try:
        for process in processes:
            process.start()
        made = {"first": first, "recode": recode}
        town = Town(processes, folder / "sign", made.__getitem__, crowd).build()
        judged = town.judged(town.happen(Situation(release="recode")))
    finally:
        for process in processes:
            process.stop(9)
            process.http.close()
    return judged.seconds, judged.word


if __name__ == "__main__":
    sys.exit(main())
