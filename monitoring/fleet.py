"""What is read of a window: all rows of few; of a fleet's many, host after host, what becomes sketches, and merges.

Of a fleet's window only what does not merge is held of all rows at once: answers, labels and latencies. Its inputs were
sketched while they came (monitoring/partials.py); the rest is read one host at a time, sketched and let go.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from monitoring import partials, sketches
from monitoring.drift.sketch import Sketch
from monitoring.drift.sketch_bytes import unpacked
from monitoring.models import Window, WindowState
from monitoring.sketches import Made, merged
from monitoring.windows import batches_within, load_predictions

SAMPLE_ROWS = 5_000
"""Rows that a sample of a fleet's window has, or a little more: whole deliveries, drawn at random."""
NARROW = ("id", "ts", "version", "digest", "latency_ms", "output", "score", "host", "label")


@dataclass
class Seen:
    """A window's rows: with all columns, or without the inputs, of which `columns` then has the fleet's sketches by
    version. `made` are the sketches of each version and host, as they are kept."""

    window: Window
    table: pa.Table
    made: list[Made] = field(default_factory=list)
    columns: dict[str, dict[str, Sketch | None]] = field(default_factory=dict)

    def rows(self, version: str, names: Sequence[str]) -> pa.Table:
        """Some columns of all rows of a version, where its sketches do not decide. Raises store.StoreDamaged."""
        window = self.window
        return load_predictions(window.endpoint, window.start, window.end, versions=[version], columns=names)

    def sample(self, version: str, names: Sequence[str]) -> pa.Table:
        """Some columns of SAMPLE_ROWS rows of a version, the same ones each time. Raises store.StoreDamaged."""
        window = self.window
        batches = batches_within(window.endpoint, window.start, window.end).filter(version=version).order_by("pk")
        found, keys, rows = list(batches.values_list("pk", "rows")), [], 0
        for place in np.random.default_rng(window.pk).permutation(len(found)).tolist():
            if rows >= SAMPLE_ROWS:
                break
            keys.append(found[place][0])
            rows += found[place][1]
        return load_predictions(
            window.endpoint, window.start, window.end, versions=[version], columns=names, batches=keys
        )


def read(window: Window, *, features: bool = True) -> Seen:
    """What the window shows; without `features` nothing is read of the inputs. Raises store.StoreDamaged."""
    if not features:
        return Seen(window, _narrow(window))
    hosts: set[int | None] = set()
    rows = 0
    for host, count in batches_within(window.endpoint, window.start, window.end).values_list("host_id", "rows"):
        hosts.add(host)
        rows += count
    if len(hosts) < 2 or rows < partials.FLEET_ROWS:
        table = load_predictions(window.endpoint, window.start, window.end)
        made = sketches.of_table(window.endpoint, table) if window.state == WindowState.OPEN else []
        return Seen(window, table, made)
    made, columns = inputs(window)
    return Seen(window, _narrow(window), made, columns)


def inputs(window: Window) -> tuple[list[Made], dict[str, dict[str, Sketch | None]]]:
    """What is kept of each version and host of a fleet's window, and the inputs of all hosts together by version. Rows
    that are not sketched yet are read one host at a time. Raises store.StoreDamaged."""
    made, rest = partials.sketched(window)
    of_hosts: dict[int | None, dict[int, str]] = defaultdict(dict)
    left = batches_within(window.endpoint, window.start, window.end).filter(pk__in=rest).order_by("pk")
    for key, host, path in left.values_list("pk", "host_id", "path"):
        of_hosts[host][key] = path
    for batches in of_hosts.values():
        made += partials.of_batches(window.endpoint, window.start, window.end, batches)
    return list(partials.by_host(made)), dict(_merged(made))


def _narrow(window: Window) -> pa.Table:
    return load_predictions(window.endpoint, window.start, window.end, columns=NARROW)


def _merged(made: list[Made]) -> Iterator[tuple[str, dict[str, Sketch | None]]]:
    """Each version's inputs of all hosts together; None is a column that they count in ways that do not merge."""
    by_version: dict[str, list[dict[str, Sketch]]] = defaultdict(list)
    for one in made:
        by_version[one.version].append(unpacked(one.content))
    for version, parts in by_version.items():
        columns, unlike = merged(parts)
        yield version, {**columns, **dict.fromkeys(unlike)}
