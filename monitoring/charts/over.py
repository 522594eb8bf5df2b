"""What is drawn: an endpoint over a span of time, with what happened in it."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.utils.translation import gettext

from monitoring import markers
from monitoring.charts.parts import stamp
from monitoring.history import Reading, read, step_of
from monitoring.models import Finding, MetricSeries
from registry.models import Endpoint


@dataclass(frozen=True)
class Span:
    """What is drawn: an endpoint from `since` to `until`, and the version that answered most in each window."""

    endpoint: Endpoint
    since: datetime
    until: datetime
    main: dict[datetime, str]

    @property
    def newest(self) -> str:
        """The version that answered most in the newest window; "" without traffic."""
        return self.main[max(self.main)] if self.main else ""

    @property
    def by(self) -> str:
        """What one point of a trace stands for, in words: window, 5-minute step, hour and so on."""
        return step_of(self.since, self.until).value

    @property
    def means(self) -> str:
        """What a line shows where a reading stands for several windows."""
        return (
            ""
            if self.by == "window"
            else (gettext("Lines: means of each %(by)s; shaded: its lowest to highest value. ") % {"by": self.by})
        )

    @property
    def reach(self) -> str:
        """From when to when, as a sentence's end."""
        return gettext("%(since)s to %(until)s UTC.") % {
            "since": f"{self.since:%Y-%m-%d %H:%M}",
            "until": f"{self.until:%Y-%m-%d %H:%M}",
        }

    @cached_property
    def series(self) -> list[MetricSeries]:
        """Every series of the endpoint, with its host: each host is read once, however many series it has."""
        return list(MetricSeries.objects.filter(endpoint=self.endpoint).prefetch_related("host"))

    @cached_property
    def _found(self) -> dict[tuple[str, bool], list[Reading]]:
        return {}

    def read(self, name: str, *, of_hosts: bool = False) -> list[Reading]:
        """The readings of that name in the span, of all hosts together or of each, oldest first; read once."""
        key = (name, of_hosts)
        if key not in self._found:
            wanted = [one for one in self.series if one.name == name and (one.host_id is not None) == of_hosts]
            self._found[key] = read(wanted, self.since, self.until)
        return self._found[key]

    def read_all(self, name: str) -> list[Reading]:
        """The readings of that name in the span, of everything that has it, oldest first."""
        return read([one for one in self.series if one.name == name], self.since, self.until)

    def stretches(self, found: Sequence[Reading]) -> list[list[Reading]]:
        """One version's points, cut where windows with traffic went by in which it did not answer: gaps are gaps."""
        parts: list[list[Reading]] = []
        windows = sorted(self.main)
        for point in found:
            near = parts and bisect_left(windows, point.at) - bisect_right(windows, parts[-1][-1].at) < 1
            if near:
                parts[-1].append(point)
            else:
                parts.append([point])
        return parts

    def extras(self, **more: Any) -> dict[str, Any]:
        """Markers and version bands, the same on every chart over time, and what this one adds."""
        return {"markers": self.marked, "bands": self._bands(), **more}

    @cached_property
    def marked(self) -> list[dict[str, str]]:
        """What happened in the span, as charts mark it."""
        found = markers.markers(self.endpoint, self.since, self.until)
        return [{"x": stamp(m.at), "label": m.label, "kind": m.kind} for m in found]

    def _bands(self) -> list[dict[str, str]]:
        bands: list[dict[str, str]] = []
        for at in sorted(self.main):
            label = gettext("version %(main)s") % {"main": self.main[at]}
            if bands and bands[-1]["label"] == label:
                bands[-1]["x1"] = stamp(at)
            else:
                if bands:
                    bands[-1]["x1"] = stamp(at)
                bands.append({"x0": stamp(at), "x1": stamp(at), "label": label})
        return bands if len(bands) > 1 else []


def span(endpoint: Endpoint, since: datetime, until: datetime) -> Span:
    """The span with its main versions, read from the windows' rows."""
    most: dict[datetime, tuple[float, str]] = {}
    over = Span(endpoint, since, until, {})
    for point in over.read("rows"):
        most[point.at] = max(most.get(point.at, (-1.0, "")), (point.value, point.series.version))
    over.main.update({at: version for at, (_, version) in most.items()})
    return over


def by_version(over: Span, name: str) -> dict[str, list[Reading]]:
    grouped: dict[str, list[Reading]] = defaultdict(list)
    for point in over.read(name):
        grouped[point.series.version].append(point)
    return dict(grouped)


def by_host(over: Span, name: str) -> dict[str, list[Reading]]:
    """Points by host, of the version that answered most in each window."""
    grouped: dict[str, list[Reading]] = defaultdict(list)
    for point in over.read(name, of_hosts=True):
        if point.series.host is not None and over.main.get(point.at) == point.series.version:
            grouped[point.series.host.name].append(point)
    return dict(grouped)


def newest_finding(over: Span, kind: str) -> Finding | None:
    """The finding of that kind about the version that answered most, of the newest window that ends within the span."""
    found = Finding.objects.filter(
        rule__endpoint=over.endpoint,
        rule__kind=kind,
        version=over.newest,
        host=None,
        window__end__gt=over.since,
        window__end__lte=over.until,
    )
    return found.select_related("window").order_by("-window__start").first()
