"""An endpoint with metrics of the minutes just gone, and rules over them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from audit.actions import service_actor
from audit.clock import database_now
from monitoring.points import keep, moments
from monitoring.rollups import Points
from monitoring.rules import evaluate
from monitoring.rules.actions import make_rule
from monitoring.rules.models import AlertRule
from monitoring.series import series_for
from registry.models import Endpoint, Host

ACTOR = service_actor("test")
MINUTE = timedelta(minutes=1)


def now() -> datetime:
    """The last full minute."""
    return database_now().replace(second=0, microsecond=0)


def points(
    endpoint: Endpoint,
    values: Sequence[float | None],
    *,
    until: datetime,
    name: str = "latency_p95_ms",
    host: Host | None = None,
    version: str = "1",
    step: timedelta = MINUTE,
) -> None:
    """A point for each value that is not None; the last stands at `until`."""
    key = (name, host, version, "")
    series = series_for(endpoint, {key: "ms"})[key]
    known = [(until - (len(values) - 1 - i) * step, value) for i, value in enumerate(values) if value is not None]
    keep(
        endpoint.pk,
        Points(
            series=np.full(len(known), series, np.int64),
            at=moments([at for at, _ in known]),
            value=np.array([value for _, value in known], np.float64),
            n=np.full(len(known), 100, np.int64),
        ),
    )


def rule(endpoint: Endpoint, *, limit: float = 10.0, **fields) -> AlertRule:
    """A rule over the p95 of latency by the minute, that fires and ends at once."""
    wanted = {
        "name": "p95 of latency", "metric": "latency_p95_ms", "kind": "static", "params": {"limit": limit},
        "window_seconds": 60, "for_seconds": 0, "clear_seconds": 0, "delay_seconds": 0, "severity": 2,
    }  # fmt: skip
    return make_rule(endpoint=endpoint, actor=ACTOR, **{**wanted, **fields})


def ask(rule: AlertRule, *, since: datetime) -> None:
    """Have the rule judged as if it had last been judged at `since`."""
    AlertRule.objects.filter(pk=rule.pk).update(judged_until=since, next_at=since)
    assert evaluate.ask(rule.pk) is True
