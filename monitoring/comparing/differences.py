"""Is a figure of one side another than that of the other side? With both intervals, and four answers."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from monitoring.drift.latency import QuantileRatio, compare_latency
from monitoring.drift.measures import wilson
from monitoring.judging.counts import ErrorShare

Found = Literal["worse", "better", "other", "alike", "unclear"]
TONES = {"worse": "bad", "better": "ok", "other": "warn", "alike": "quiet", "unclear": "unknown"}
WORDS = {
    "worse": "worse",
    "better": "better",
    "other": "another",
    "alike": _("no difference that matters"),
    "unclear": _("too little to tell"),
}
ALPHA = 0.05
MOST_SAMPLE = 200_000
RATIO, RISE_MS, LEAST = 1.25, 1.0, 100


@dataclass(frozen=True)
class Difference:
    """One figure of both sides as text with its interval, and what is held of their difference. `values` has the
    numbers: `now`, `before` and `difference` (or `ratio`), each with `_low` and `_high`."""

    name: str
    now: str
    before: str
    difference: str
    found: Found
    values: dict[str, float | int | None] = field(default_factory=dict)

    @property
    def tone(self) -> str:
        """How the answer looks."""
        return TONES[self.found]

    @property
    def words(self) -> str:
        """The answer in words."""
        return WORDS[self.found]


def of_shares(
    name: str, now: tuple[int, int], before: tuple[int, int], *, matters: float, good: str = "", alpha: float = ALPHA
) -> Difference | None:
    """A share, as (hits, of) on both sides, each direction by Fisher's exact test at half of `alpha`. `good` is "up" or
    "down" where one direction is better; a difference below `matters` is none. None without rows on either side."""
    (a, n), (b, m) = now, before
    if not n or not m:
        return None
    rose = ErrorShare(b, m, a, n, matters=matters).judge(alpha / 2)
    fell = ErrorShare(m - b, m, n - a, n, matters=matters).judge(alpha / 2)
    shown = ErrorShare(b, m, a, n).judge(0.025)
    assert shown.low is not None
    assert shown.high is not None
    moved = "up" if rose.answer == "fail" else "down" if fell.answer == "fail" else ""
    found: Found
    if moved:
        found = "other" if not good else "better" if moved == good else "worse"
    else:
        found = "alike" if rose.answer == fell.answer == "pass" else "unclear"
    (low, high), (low_b, high_b) = wilson(a, n), wilson(b, m)
    gap = a / n - b / m
    return Difference(
        name,
        gettext("%(a)s (%(low)s to %(high)s) of %(n)s")
        % {"a": f"{a / n:.1%}", "low": f"{low:.1%}", "high": f"{high:.1%}", "n": f"{n:,}"},
        gettext("%(b)s (%(low_b)s to %(high_b)s) of %(m)s")
        % {"b": f"{b / m:.1%}", "low_b": f"{low_b:.1%}", "high_b": f"{high_b:.1%}", "m": f"{m:,}"},
        gettext("%(gap)s points (%(low)s to %(high)s)")
        % {"gap": f"{100 * gap:+.1f}", "low": f"{100 * shown.low:+.1f}", "high": f"{100 * shown.high:+.1f}"},
        found,
        {
            "now": a / n,
            "now_low": low,
            "now_high": high,
            "now_n": n,
            "before": b / m,
            "before_low": low_b,
            "before_high": high_b,
            "before_n": m,
            "difference": gap,
            "difference_low": shown.low,
            "difference_high": shown.high,
        },
    )


def of_latency(
    name: str, now: np.ndarray, before: np.ndarray, quantile: float, alpha: float = ALPHA
) -> Difference | None:
    """One quantile of latencies in ms, shape (n,) and (m,) ascending, as a ratio with its interval; slower or faster
    from RATIO times and RISE_MS on. Latencies are taken as independent. None with fewer than LEAST on either side."""
    found = compare_latency(
        before, now, quantiles=(quantile,), ratio_floor=RATIO, rise_floor_ms=RISE_MS, alpha=alpha, minimum_rows=LEAST
    )
    if not found.quantiles:
        return None
    [one] = found.quantiles
    answer: Found = "unclear"
    if one.slower:
        answer = "worse"
    elif one.high < 1 and one.ratio <= 1 / RATIO and one.reference - one.window >= RISE_MS:
        answer = "better"
    elif _within(one):
        answer = "alike"
    return Difference(
        name,
        f"{one.window:.2f} ms",
        f"{one.reference:.2f} ms",
        gettext("%(ratio)s times (%(low)s to %(high)s)")
        % {"ratio": f"{one.ratio:.2f}", "low": f"{one.low:.2f}", "high": f"{one.high:.2f}"},
        answer,
        {"now": one.window, "before": one.reference, "ratio": one.ratio, "ratio_low": one.low, "ratio_high": one.high},
    )


def _within(one: QuantileRatio) -> bool:
    """Whether the interval reaches nothing that matters, either way."""
    slowest, fastest = one.reference * one.high, one.reference * one.low
    slower = one.high >= RATIO and slowest - one.reference >= RISE_MS
    return not slower and not (one.low <= 1 / RATIO and one.reference - fastest >= RISE_MS)


def thinned(ordered: np.ndarray) -> np.ndarray:
    """At most MOST_SAMPLE of ascending values, evenly: their quantiles stay, and their number errs to "unclear"."""
    if len(ordered) <= MOST_SAMPLE:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MOST_SAMPLE).astype(np.int64)]
