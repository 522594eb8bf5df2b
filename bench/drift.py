"""How fast drift is computed, against the peers and against the least that any program could do. One line per figure.

``drift_60x100k_seconds``: 50 numeric and 10 categorical columns, 100,000 against 100,000 rows, both raw: KS, PSI, JS,
KL, Wasserstein, chi-square and the rest of every column. ``drift_20x1m_seconds``: 20 numeric columns, a million against
a million. Targets: 3 times the floor, which is NumPy's sort of the same columns and one merge in C, in as many threads.
``drift_window_seconds``: the 60 columns of a new window against a profile that is held; at most 0.15 s.
``drift_peak_times_data``: the most memory held beyond the data, by the data's size, plus one; at most 4.
``mmd_2k_seconds``: 2,000 against 2,000 rows of 32 columns, 1,000 permutations; at most a hundredth of Alibi Detect's.
``adwin_1m_seconds``: a million errors through ADWIN; at most what river's own loop takes.

Peers are measured where bench/peers.sh has installed them (PEERS=directory, by default var/peers), once each. Without
them Alibi Detect's time of 189 s, measured on another machine, stands for the permutations. ROWS=10000 makes the
tables smaller. Every value is the median of RUNS.
"""

import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import stats

from bench.report import machine, report
from monitoring.drift import measures
from monitoring.drift.compare import compare
from monitoring.drift.concept import detect_changes
from monitoring.drift.exact import compare_exact, sort_reference
from monitoring.drift.mmd import mmd_test
from monitoring.drift.profile import Profile, build_profile

ROOT = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("PEERS", ROOT.parent / "var" / "peers"))
ROWS = int(os.environ.get("ROWS", "100000"))
RUNS = 5
ALIBI_MMD = 189.0

Table = dict[str, np.ndarray]


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        where = Path(name)
        merge = compiled(where)
        small = both(50, 10, ROWS)
        met = whole("drift_60x100k_seconds", small, merge, where, on, peers=("evidently", "nannyml", "alibi"))
        met &= window_only(small, on)
        met &= peak(small, on)
        met &= whole("drift_20x1m_seconds", both(20, 0, 10 * ROWS), merge, where, on, peers=("nannyml", "alibi"))
        met &= mmd(where, on)
    return 0 if met & adwin(on) else 1


def both(numeric: int, categorical: int, rows: int) -> tuple[Table, Table]:
    """Reference and window: normal, lognormal, uniform, integer and heavy-tailed columns; every fourth one drifts."""
    rng = np.random.default_rng(11)
    draws: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(size=rows),
        lambda: rng.lognormal(size=rows),
        lambda: rng.random(rows),
        lambda: rng.integers(0, 50, rows).astype(float),
        lambda: rng.standard_t(4, rows),
    ]
    tables: tuple[Table, Table] = ({}, {})
    for i in range(numeric):
        for table, shift in zip(tables, (0.0, 0.1 if i % 4 == 3 else 0.0), strict=True):
            table[f"n{i}"] = (draws[i % len(draws)]() + shift).astype(np.float32)
    for i in range(categorical):
        levels = 5 + 2 * i
        for table, shift in zip(tables, (0.0, 0.3 if i % 4 == 3 else 0.0), strict=True):
            chances = np.arange(1, levels + 1) ** (0.5 + shift)
            table[f"c{i}"] = rng.choice(levels, rows, p=chances / chances.sum())
    return tables


def whole(
    name: str, tables: tuple[Table, Table], merge: ctypes.CDLL | None, where: Path, on: str, *, peers: tuple[str, ...]
) -> bool:
    """Both samples raw, everything computed."""
    reference, window = tables
    kinds = {column: "numeric" if column[0] == "n" else "categorical" for column in reference}
    taken = median(lambda: compare_exact(sort_reference(reference, kinds), window))
    floor = median(lambda: sort_and_merge(reference, window, merge))
    others = {"scipy loop": round(timed(lambda: scipy_loop(reference, window)), 3)}
    path = where / f"{name}.npz"
    np.savez(
        path,
        **{f"{part}/{n}": c for part, t in zip(("reference", "window"), tables, strict=True) for n, c in t.items()},
    )
    others |= {peer: found for peer in peers if (found := time_peer(peer, path)) is not None}
    path.unlink()
    return report(name, taken, "s", 3 * floor, at_least=False, on=on, floor=floor, peers=others)


def window_only(tables: tuple[Table, Table], on: str) -> bool:
    reference, window = tables
    kinds = {column: "numeric" if column[0] == "n" else "categorical" for column in reference}
    profile = Profile.from_json(build_profile(reference, kinds))
    compare(profile, {name: column[:100] for name, column in window.items()})
    floor = median(lambda: in_threads(np.sort, [c for n, c in window.items() if n[0] == "n"]))
    taken = median(lambda: compare(profile, window))
    return report("drift_window_seconds", taken, "s", 0.15, at_least=False, on=on, floor=floor)


def peak(tables: tuple[Table, Table], on: str) -> bool:
    """NumPy tells tracemalloc of every array, so what is held at most is counted and not sampled."""
    reference, window = tables
    kinds = {column: "numeric" if column[0] == "n" else "categorical" for column in reference}
    data = sum(column.nbytes for table in tables for column in table.values())
    tracemalloc.start()
    compare_exact(sort_reference(reference, kinds), window)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return report("drift_peak_times_data", 1 + held / data, "times", 4, at_least=False, on=on, floor=1)


def mmd(where: Path, on: str) -> bool:
    rng = np.random.default_rng(5)
    reference, window = (rng.normal(size=(2000, 32)).astype(np.float32) for _ in range(2))
    window[:, :4] += 0.1
    taken = median(lambda: mmd_test(reference, window, permutations=1000, device="cpu"))
    path = where / "mmd.npz"
    np.savez(path, reference=reference, window=window)
    import torch

    tenth = time_peer("alibi_mmd", path, str(Path(torch.__file__).parents[1]))
    alibi = ALIBI_MMD if tenth is None else 10 * tenth
    words = "alibi, on another machine" if tenth is None else "alibi, ten times its 100 permutations"
    return report("mmd_2k_seconds", taken, "s", alibi / 100, at_least=False, on=on, peers={words: round(alibi, 1)})


def adwin(on: str) -> bool:
    from river import drift

    rng = np.random.default_rng(7)
    errors = np.concatenate([rng.binomial(1, p, 10 * ROWS // 4) for p in (0.1, 0.1, 0.25, 0.15)])

    def loop() -> list[int]:
        model, found = drift.ADWIN(), []
        for i, value in enumerate(errors.tolist()):
            model.update(value)
            if model.drift_detected:
                found.append(i)
        return found

    if detect_changes(errors, "adwin").changes != loop():
        raise SystemExit("ADWIN finds other changes than river's own loop; the figure would mean nothing.")
    river = median(loop)
    taken = median(lambda: detect_changes(errors, "adwin"))
    return report("adwin_1m_seconds", taken, "s", river, at_least=False, on=on, peers={"river": round(river, 4)})


def sort_and_merge(reference: Table, window: Table, merge: ctypes.CDLL | None) -> None:
    def one(name: str) -> None:
        a, b = np.sort(reference[name]), np.sort(window[name])
        if merge is not None:
            merge.merge(a.ctypes.data, len(a), b.ctypes.data, len(b), np.empty(2).ctypes.data)

    in_threads(one, [name for name in reference if name[0] == "n"])


def compiled(where: Path) -> ctypes.CDLL | None:
    """The merge in C; None where there is no compiler, and the floor is then the sort alone."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = where / "merge.so"
    subprocess.run(
        [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", library, ROOT / "peers" / "merge.c"], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.merge.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
    return loaded


def scipy_loop(reference: Table, window: Table) -> None:
    """What one would write without a library for drift."""
    for name, a in reference.items():
        b = window[name]
        if name[0] == "c":
            cells = [np.bincount(column, minlength=30) for column in (a, b)]
            stats.chi2_contingency([row[sum(cells) > 0] for row in cells])
            continue
        stats.ks_2samp(a, b, method="asymp")
        stats.wasserstein_distance(a, b)
        edges = np.quantile(a, np.linspace(0, 1, 11))[1:-1]
        cells = [np.bincount(np.searchsorted(edges, column), minlength=10) for column in (a, b)]
        measures.psi(*cells)
        measures.js_distance(*cells)


def time_peer(peer: str, path: Path, *more: str) -> float | None:
    """Seconds that a peer takes in its own environment; None where it is not installed or fails."""
    python = PEERS / peer.split("_")[0] / "bin" / "python"
    if not python.exists():
        return None
    program = ROOT / "peers" / "time_peer.py"
    done = subprocess.run([python, program, peer, path, *more], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{peer} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def in_threads(work: Callable, over: list) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, over))


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median(work: Callable[[], object]) -> float:
    return statistics.median(timed(work) for _ in range(RUNS))


if __name__ == "__main__":
    sys.exit(main())
