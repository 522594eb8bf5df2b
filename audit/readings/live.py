"""Which version answered on which host, when: from the log's switches of an endpoint."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext

from audit.readings.changes import SWITCH, environments_of
from audit.readings.records import Recorded, oldest_first

WIDTH, ROW, LABEL = 1000, 22, 150


@dataclass(frozen=True)
class Span:
    """That a version was entered as live on a host from ``since`` to ``until`` (None: still)."""

    host: str
    number: str
    digest: str
    since: datetime.datetime
    until: datetime.datetime | None
    cause: str
    run: str
    event: Recorded


@dataclass(frozen=True)
class Bar:
    """A span as a piece of the drawing, in its units."""

    x: float
    y: int
    width: float
    shade: int
    label: str
    title: str


@dataclass(frozen=True)
class Drawing:
    """All hosts of an endpoint over time: a line each, a bar for each version."""

    hosts: list[tuple[str, int]]
    bars: list[Bar]
    height: int
    since: datetime.datetime
    until: datetime.datetime


def endpoints() -> dict[str, tuple[str, str]]:
    """Model and environment of each endpoint that was ever registered."""
    return dict(sorted(environments_of().items()))


def spans_of(
    endpoint: str, since: datetime.datetime | None = None, until: datetime.datetime | None = None
) -> list[Span]:
    """What was live on the endpoint's hosts within a span, the newest first."""
    limit = {"occurred_at__lt": until} if until else {}
    open_on: dict[str, Span] = {}
    ended: list[Span] = []
    for event in oldest_first(target_id=endpoint, action=SWITCH, outcome="success", **limit):
        host = event.text("host")
        if host in open_on:
            ended.append(replace(open_on[host], until=event.at))
        open_on[host] = Span(
            host, event.text("number"), event.text("to"), event.at, None, event.text("cause"), event.text("run"), event
        )
    found = [span for span in ended if since is None or (span.until and span.until > since)] + [*open_on.values()]
    return sorted(found, key=lambda span: (span.since, span.host), reverse=True)


def drawing(spans: Sequence[Span], since: datetime.datetime, until: datetime.datetime) -> Drawing:
    """The spans as bars within the time from `since` to `until`."""
    hosts = sorted({span.host for span in spans})
    versions = sorted({span.number for span in spans}, key=lambda number: (len(number), number))
    seconds = max((until - since).total_seconds(), 1.0)

    def x(moment: datetime.datetime) -> float:
        within = min(max((moment - since).total_seconds() / seconds, 0.0), 1.0)
        return round(LABEL + within * (WIDTH - LABEL), 1)

    bars = []
    for span in spans:
        left, right = x(span.since), x(span.until or until)
        ends = (
            gettext("until %(until)s UTC") % {"until": f"{span.until:%Y-%m-%d %H:%M:%S}"}
            if span.until
            else gettext("still live")
        )
        bars.append(
            Bar(
                left,
                hosts.index(span.host) * ROW + 2,
                max(right - left, 1.0),
                versions.index(span.number) % 4,
                span.number if right - left > 24 else "",
                gettext("version %(number)s on %(host)s from %(since)s UTC, %(ends)s")
                % {"number": span.number, "host": span.host, "since": f"{span.since:%Y-%m-%d %H:%M:%S}", "ends": ends},
            )
        )
    lines = [(host, at * ROW + 15) for at, host in enumerate(hosts)]
    return Drawing(lines, bars, len(hosts) * ROW + 4, since, until)
