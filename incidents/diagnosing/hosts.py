"""Does one host stand out? Each against all others together, corrected for their number. Pure: counts and arrays in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from monitoring.drift.latency import QuantileRatio, compare_latency

ALPHA = 0.01
LEAST_ROWS = 50
DROP_FLOOR = 0.03
"""Share of rows by which a host must be wrong more often than the others."""
SPEED_RATIO, SPEED_RISE_MS = 2.0, 1.0


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


def slower(latencies: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> list[Odd]:
    """Hosts whose median latency (ms) is at least twice that of the others, and of their own before."""
    found = []
    for name, own in latencies.items():
        usual = before.get(name, np.array([]))
        if len(usual) >= LEAST_ROWS and np.median(own) < SPEED_RATIO * np.median(usual):
            continue
        others = [values for other, values in latencies.items() if other != name]
        if not others:
            continue
        verdict = compare_latency(
            np.concatenate(others),
            own,
            quantiles=(0.5,),
            ratio_floor=SPEED_RATIO,
            rise_floor_ms=SPEED_RISE_MS,
            alpha=ALPHA / len(latencies),
            minimum_rows=LEAST_ROWS,
        )
        if verdict.quantiles and verdict.quantiles[0].slower:
            one = verdict.quantiles[0]
            words = (
                f"half of {name}'s answers take {one.window:.1f} ms or more, those of the others {one.reference:.1f} ms"
            )
            found.append(Odd(name, "speed", words, _chance(one, ALPHA / len(latencies))))
    return found


def _chance(one: QuantileRatio, alpha: float) -> float:
    """The two-sided p of a ratio of 1, as its interval of coverage 1 - alpha tells it: normal on the log scale, with
    the width below the ratio. Below alpha wherever that interval lies above 1."""
    width = max(math.log(one.ratio / one.low), 1e-9)
    return float(2 * stats.norm.sf(stats.norm.isf(alpha / 2) * math.log(one.ratio) / width))


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
