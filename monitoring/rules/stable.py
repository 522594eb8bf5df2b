"""The stable period of a control chart: its points, and how often its own rules would call them out of control."""

from datetime import datetime

import numpy as np
from django.utils.translation import gettext

from monitoring.drift.measures import wilson
from monitoring.rules.bins import DAY, Floats
from monitoring.rules.conditions import REDUCE, broken_points, moments
from monitoring.rules.models import AlertRule, AlertRuleKind, Reduce
from monitoring.rules.reading import microseconds, read
from monitoring.rules.spec import spec_of

MOST_POINTS, MOST_SHUFFLES, LEAST_POINTS = 50_000, 400, 2_000
"""Points of all shuffles together, at most; shuffles, at most; and points from which a rate is told."""


def stable_points(rule: AlertRule, since: datetime, until: datetime) -> Floats:
    """What each window of the period came to, oldest first; NaN for one without a value."""
    at = moments(spec_of(rule), microseconds(since), microseconds(until))
    if not len(at):
        return np.empty(0)
    width = rule.window_seconds * 1_000_000
    bins = read(rule, [None], [(int(at[0]) - width, int(at[-1]))])[None]
    return REDUCE[Reduce(rule.reduce)](bins, at, width)


def false_alarms(rule: AlertRule) -> str:
    """Of a control chart: its stable period, shuffled again and again, held against its own limits, as a sentence;
    empty for other kinds, without a period, and where the period's points are kept no longer."""
    if rule.kind != AlertRuleKind.CONTROL:
        return ""
    try:
        since, until = (datetime.fromisoformat(rule.params[name]) for name in ("since", "until"))
    except ValueError:
        return ""
    if since.tzinfo is None or until.tzinfo is None:
        return ""
    points = stable_points(rule, since, until)
    points = points[np.logical_not(np.isnan(points))]
    shuffles = min(MOST_SHUFFLES, MOST_POINTS // max(len(points), 1))
    if len(points) * shuffles < LEAST_POINTS:
        return ""
    rng = np.random.default_rng(0)
    # A point without data breaks every run, so that none goes on from one shuffle into the next.
    rows = np.column_stack((rng.permuted(np.tile(points, (shuffles, 1)), axis=1), np.full(shuffles, np.nan)))
    alarms = _alarms(broken_points(rule.params, rows.ravel()), rule.for_seconds // rule.window_seconds + 1)
    most = wilson(alarms, len(points) * shuffles)[1]
    days = rule.window_seconds * 1_000_000 / DAY / most
    often = (
        gettext("one false alarm in %(days)s days") % {"days": f"{days:,.0f}"}
        if days >= 2
        else gettext("%(number)s false alarms a day") % {"number": f"{1 / days:.1f}"}
    )
    return gettext(
        "Its stable period, %(points)s points shuffled %(shuffles)s times, raised %(alarms)s alarms: at most about "
        "%(often)s."
    ) % {"points": f"{len(points):,}", "shuffles": shuffles, "alarms": f"{alarms:,}", "often": often}


def _alarms(broken: np.ndarray, in_a_row: int) -> int:
    """Stretches of at least so many points in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], broken.astype(np.int8), [0]))))
    return int(np.count_nonzero(edges[1::2] - edges[::2] >= in_a_row))
