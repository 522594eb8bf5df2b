"""Does one host stand out? Each against all others together, corrected for their number. Pure: counts and arrays in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from monitoring.judging.hosts import RATIO, Timed, slow_hosts

ALPHA = 0.01
LEAST_ROWS = 50
DROP_FLOOR = 0.03
"""Share of rows by which a host must be wrong more often than the others."""


@dataclass(frozen=True)
class Odd:
    """A host that stands out, by `accuracy`, `speed` or `silence`, why in words, and how rarely chance does that."""

    host: str
    by: str
    because: str
    p: float


def less_right(counts: Mapping[str, tuple[int, int]]) -> list[Odd]:
    """Hosts that are right less often than the others: `counts` maps a host to (right, labelled rows). Fisher's exact
    test, one-sided, Bonferroni over the hosts."""
    found = []
    for name, (right, n) in counts.items():
        others = [pair for other, pair in counts.items() if other != name]
        their_right, their_n = sum(pair[0] for pair in others), sum(pair[1] for pair in others)
        if n < LEAST_ROWS or their_n < LEAST_ROWS:
            continue
        share, theirs = right / n, their_right / their_n
        p = float(stats.fisher_exact([[right, n - right], [their_right, their_n - their_right]], "less").pvalue)
        if p * len(counts) < ALPHA and theirs - share >= DROP_FLOOR:
            words = f"{name} is right in {share:.1%} of {n:,}, the others in {theirs:.1%} of {their_n:,}"
            found.append(Odd(name, "accuracy", words, p))
    return sorted(found, key=lambda odd: odd.p)


def slower(now: Mapping[str, Timed], before: Mapping[str, np.ndarray]) -> list[Odd]:
    """Hosts that are slow beside the others (`monitoring.judging.hosts`), and not as slow before: at least RATIO times
    their own median latency (ms) then."""
    found = []
    for one in slow_hosts(now):
        usual = before.get(one.host, np.array([]))
        if len(usual) >= LEAST_ROWS and one.own_ms < RATIO * np.median(usual):
            continue
        words = (
            f"half of {one.host}'s answers take {one.own_ms:.1f} ms or more, those of the others {one.theirs_ms:.1f} "
            f"ms, in {one.slow} of {one.windows} windows at least {RATIO:g} times as long"
        )
        found.append(Odd(one.host, "speed", words, one.p))
    return found


def silent(before: Mapping[str, int], now: Mapping[str, int]) -> list[Odd]:
    """Hosts that answered before (rows by host) and not at all now, where the others answered enough to tell."""
    total_before, total_now = sum(before.values()), sum(now.values())
    found = []
    for name, rows in before.items():
        if now.get(name) or not total_before or rows < LEAST_ROWS or total_now < LEAST_ROWS:
            continue
        p = (1 - rows / total_before) ** total_now
        if p * len(before) < ALPHA:
            words = f"{name} gave {rows / total_before:.0%} of the answers before and none since"
            found.append(Odd(name, "silence", words, p))
    return found
