"""Is the value beyond its limits? A rule's kinds as pure functions of bins, at any moments.

What is said of a moment depends on the rule and on the bins of `needed` spans before it alone, never on which other
moments are asked with it: so a preview over a month says what judging it minute by minute would have said.
"""

import numpy as np

from monitoring.rules.answers import REDUCE, Condition, Judged
from monitoring.rules.bins import HOUR, MINUTE, SECOND, WEEK, Bins, Floats, Integers, means
from monitoring.rules.control import judging
from monitoring.rules.models import AlertRuleKind, Reduce
from monitoring.rules.spec import ABOVE, BELOW, GOOD, Spec

SAMPLE = 5 * MINUTE
"""How far apart the values lie that an hour of an earlier week is known by."""
PER_HOUR = HOUR // SAMPLE
LEAST_SAMPLES, LEAST_WEEKS = 6, 2
MAD_TO_SIGMA = 1.4826
"""Of normal values, sigma is so many times the median absolute deviation: 1 / quantile(3/4)."""


def moments(spec: Spec, after: int, until: int) -> Integers:
    """The moments after `after`, and not after `until`, at which the rule is judged: multiples of its step."""
    return np.arange(after // spec.step + 1, until // spec.step + 1, dtype=np.int64) * spec.step


def needed(spec: Spec, first: int, last: int) -> list[tuple[int, int]]:
    """The spans (after, until] whose bins judging from `first` to `last` takes, the newest first."""
    spans = [(first - reach(spec), last)]
    if spec.kind == AlertRuleKind.SEASONAL:
        hours = _hour(np.array([first, last]))
        spans += [
            (int(hours[0]) - week * WEEK - spec.window, int(hours[1]) + HOUR - week * WEEK)
            for week in range(1, int(spec.params["weeks"]) + 1)
        ]
    return spans


def reach(spec: Spec) -> int:
    """How far back of a moment lies what it is judged by, earlier weeks apart."""
    if spec.kind == AlertRuleKind.BURN:
        return _long(spec)
    if spec.kind == AlertRuleKind.CONTROL:
        return judging.memory(spec.params) * spec.window
    return spec.window


def judge(spec: Spec, bins: Bins, at: Integers) -> Judged:
    """What the rule says at each of the moments, which are in order and at least one."""
    return _KINDS[spec.kind](spec, bins, at)


def _static(spec: Spec, bins: Bins, at: Integers) -> Judged:
    value = REDUCE[Reduce(spec.reduce)](bins, at, spec.window)
    limit, clear = (np.full(len(at), spec.params[name]) for name in ("limit", "clear"))
    none = np.full(len(at), np.nan)
    if spec.params["direction"] == ABOVE:
        return _judged(at, value, none, limit, none, clear)
    return _judged(at, value, limit, none, clear, none)


def _seasonal(spec: Spec, bins: Bins, at: Integers) -> Judged:
    """Against the median of the same clock hour of the weeks before, in median absolute deviations."""
    p = spec.params
    reduce = REDUCE[Reduce(spec.reduce)]
    value = reduce(bins, at, spec.window)
    hours, place = np.unique(_hour(at), return_inverse=True)
    weeks = np.arange(1, int(p["weeks"]) + 1, dtype=np.int64) * WEEK
    within = np.arange(1, PER_HOUR + 1, dtype=np.int64) * SAMPLE
    asked = hours[:, None, None] - weeks[None, :, None] + within[None, None, :]
    centre, spread = _middle(reduce(bins, asked.ravel(), spec.window).reshape(asked.shape))
    centre, spread = centre[place], spread[place]
    limits = []
    for factor in (p["factor"], p["clear_factor"]):
        reach = np.maximum(factor * spread, p["floor"] * factor / p["factor"])
        low = np.full(len(at), np.nan) if p["direction"] == ABOVE else centre - reach
        high = np.full(len(at), np.nan) if p["direction"] == BELOW else centre + reach
        limits += [low, high]
    found = _judged(at, value, *limits)
    unknown = np.isnan(centre) & ~np.isnan(value)
    return found._replace(condition=np.where(unknown, np.int8(Condition.UNKNOWN), found.condition))


def _middle(samples: Floats) -> tuple[Floats, Floats]:
    """Median and scaled median absolute deviation of each hour's samples (hours, weeks, samples); NaN where too few."""
    flat = samples.reshape(len(samples), -1)
    known = ~np.isnan(samples)
    enough = (known.sum(axis=(1, 2)) >= LEAST_SAMPLES) & (known.any(axis=2).sum(axis=1) >= LEAST_WEEKS)
    centre, spread = np.full(len(samples), np.nan), np.full(len(samples), np.nan)
    if enough.any():
        centre[enough] = np.nanmedian(flat[enough], axis=1)
        spread[enough] = MAD_TO_SIGMA * np.nanmedian(np.abs(flat[enough] - centre[enough, None]), axis=1)
    return centre, spread


def _hour(at: Integers) -> Integers:
    """The start of the clock hour (UTC) that a value at `at` belongs to: one at the full hour ends the hour before."""
    return (at - 1) // HOUR * HOUR


def _burn(spec: Spec, bins: Bins, at: Integers) -> Judged:
    """The value is the lower of the two windows' burn rates: both must reach the factor. It is clear of the budget when
    the short one is."""
    p = spec.params
    budget = 1 - p["objective"]
    long, short = (_wrong(p["counts"], means(bins, at, w)) / budget for w in (_long(spec), spec.window))
    factor, clear = np.full(len(at), p["factor"]), np.full(len(at), p["clear_factor"])
    value = np.minimum(long, short)
    none = np.full(len(at), np.nan)
    found = _judged(at, value, none, factor, none, clear)
    # A burn rate at the factor itself is a breach: the workbook's thresholds are reached, not passed.
    return found._replace(condition=np.where(value >= factor, np.int8(Condition.BREACH), found.condition))


def _long(spec: Spec) -> int:
    return int(spec.params["long_seconds"]) * SECOND


def _wrong(counts: str, share: Floats) -> Floats:
    return 1 - share if counts == GOOD else share


def _judged(at: Integers, value: Floats, low: Floats, high: Floats, clear_low: Floats, clear_high: Floats) -> Judged:
    with np.errstate(invalid="ignore"):
        beyond = (value > high) | (value < low)
        between = (value > clear_high) | (value < clear_low)
    condition = np.where(beyond, Condition.BREACH, np.where(between, Condition.BETWEEN, Condition.CLEAR))
    condition = np.where(np.isnan(value), Condition.NO_DATA, condition)
    return Judged(at, value, low, high, condition.astype(np.int8))


_KINDS = {
    AlertRuleKind.STATIC: _static,
    AlertRuleKind.SEASONAL: _seasonal,
    AlertRuleKind.BURN: _burn,
    AlertRuleKind.CONTROL: judging.judge,
}
