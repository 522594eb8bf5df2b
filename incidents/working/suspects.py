"""What changed lately, sorted by how likely it is the cause, from the log.

A change is a suspect when it was made in the day before the impact began, or up to two minutes after (the start is an
estimate). Its weight is a product of four plain factors, each stated in the sentence beside it:

    weight = kind * relation * nearness * way back

*kind*: how often such a change is a cause at all (KINDS). *relation*: 1 for the incident's endpoint, 0.8 for one of its
hosts, 0.7 for its model, 0.2 for anything else. *nearness*: 1 / (1 + minutes before / 30). *way back*: 1 where the
change can be taken back, 0.8 where it can't, because then knowing it helps less tonight. The factors are ours, not
fitted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit import names
from audit.models import AuditEvent, Outcome
from audit.queries import record_of
from incidents.models import Incident
from registry.models import Placement

BEFORE, AFTER = timedelta(days=1), timedelta(minutes=2)
MOST_EVENTS, SHOWN = 1000, 12
HALF = 30.0
"""Minutes before the impact at which nearness is one half."""


@dataclass(frozen=True)
class Kind:
    """What a change of this action is called, how often such a one is a cause (0 to 1), and how it is taken back."""

    words: str
    weight: float
    back: str = ""


KINDS: Mapping[str, Kind] = {
    "deployment.switch": Kind(_("version {number} began to serve"), 1.0, _("a rollback takes it back")),
    "endpoint.fallback": Kind(_("another fallback version was named"), 0.3, _("it can be named anew")),
    "alias.move": Kind(_("alias {alias} moved to version {number}"), 0.5, _("the alias can be moved back")),
    "host.register": Kind(_("host {target} was registered"), 0.5, _("the host can be drained")),
    "host.drain": Kind(_("host {target} was drained"), 0.6, _("the host can be brought back")),
    "host.bring_back": Kind(_("host {target} was brought back"), 0.6, _("the host can be drained again")),
    "host.hold": Kind(_("host {target} was held back from reconciling"), 0.3, _("the hold can be ended")),
    "host.token_replace": Kind(_("host {target} was given another control token"), 0.3),
    "placement.add": Kind(_("a host was added"), 0.5, _("the host can be drained")),
    "rule.change": Kind(_("a rule was changed"), 0.4, _("the rule can be set back")),
    "alert_rule.change": Kind(_("an alert rule was changed"), 0.4, _("the rule can be set back")),
    "alert_rule.make": Kind(_("an alert rule was made"), 0.4, _("the rule can be retired")),
    "monitor.watch": Kind(_("the endpoint's monitoring was changed"), 0.3, _("it can be set back")),
    "version.quarantine_lift": Kind(_("a quarantine was lifted"), 0.4, _("the version can be quarantined again")),
    "policy.replace": Kind(_("an approval policy was replaced"), 0.1, _("it can be replaced again")),
    "metric_query.create": Kind(_("a query of metrics was added"), 0.2, _("it can be ended")),
}


@dataclass
class Suspect:
    """One change, or the same one on several hosts. `weight` is 0 to 1; `why` the sentence that says how it came."""

    action: str
    what: str
    who: str
    at: datetime
    weight: float
    why: str
    back: str
    hosts: list[str] = field(default_factory=list)
    event: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.what[0].upper()}{self.what[1:]}{' on ' + ', '.join(self.hosts) if self.hosts else ''}"


@dataclass(frozen=True)
class _Near:
    """What the incident is about, by the names under which the log knows it."""

    endpoint: str
    model: str
    hosts: frozenset[str]
    rules: frozenset[str]

    def relation(self, event: AuditEvent, data: Mapping[str, Any]) -> tuple[float, str]:
        target, after = event.target_id, data.get("after")
        named = data.get("endpoint") or (after.get("endpoint") if isinstance(after, dict) else "")
        if self.endpoint and self.endpoint in (target, named):
            return 1.0, gettext("on the same endpoint")
        if event.target_kind == "rule" and target in self.rules:
            return 1.0, gettext("a rule of the same endpoint")
        if event.target_kind == "host" and target in self.hosts:
            return 0.8, gettext("on a host of the endpoint")
        if self.model and (data.get("model") == self.model or target.split("/")[0] == self.model):
            return 0.7, gettext("on the same model")
        return 0.2, "elsewhere"


def _near(incident: Incident) -> _Near:
    endpoint = incident.endpoint
    if endpoint is None:
        return _Near("", "", frozenset(), frozenset())
    hosts = Placement.objects.filter(endpoint=endpoint).values_list("host__name", flat=True)
    rules = [*endpoint.rules.values_list("pk", flat=True)]
    return _Near(endpoint.slug, endpoint.model.slug, frozenset(hosts), frozenset(str(rule) for rule in rules))


def suspects(incident: Incident) -> list[Suspect]:
    """The likeliest changes first, at most SHOWN of them. Six queries."""
    began = incident.impact_started_at or incident.detected_at
    found = AuditEvent.objects.filter(
        action__in=KINDS, outcome=Outcome.SUCCESS, occurred_at__range=(began - BEFORE, began + AFTER)
    ).order_by("-occurred_at", "-id")[:MOST_EVENTS]
    near = _near(incident)
    events = [(event, record_of(event)["data"]) for event in found]
    called = names.display({event.actor for event, _ in events})
    made = _together(_suspect(event, data, near, began, called) for event, data in events)
    return sorted(made, key=lambda one: (-one.weight, -one.at.timestamp()))[:SHOWN]


def _suspect(
    event: AuditEvent, data: Mapping[str, Any], near: _Near, began: datetime, called: Mapping[str, str]
) -> Suspect:
    kind = KINDS[event.action]
    relation, where = near.relation(event, data)
    minutes = max(0.0, (began - event.occurred_at).total_seconds() / 60)
    weight = kind.weight * relation / (1 + minutes / HALF) * (1.0 if kind.back else 0.8)
    back = f"; {kind.back}" if kind.back else gettext("; it can't be taken back from here")
    words = kind.words.format_map({"target": event.target_id, "number": "?", "alias": "?"} | dict(data))
    return Suspect(
        action=event.action,
        what=words,
        who=called.get(event.actor, event.actor),
        at=event.occurred_at,
        weight=weight,
        why=f"{_before(began, event.occurred_at)}, {where}{back}.",
        back=kind.back,
        hosts=[str(data["host"])] if data.get("host") else [],
        event=str(event.event_uuid),
    )


def _before(began: datetime, at: datetime) -> str:
    seconds = int((began - at).total_seconds())
    if seconds < 0:
        return gettext("%(seconds)s s after the impact seems to have begun") % {"seconds": -seconds}
    if seconds < 120:
        return gettext("%(seconds)s s before the impact began") % {"seconds": seconds}
    if seconds < 7200:
        return gettext("%(seconds)s min before the impact began") % {"seconds": seconds // 60}
    return gettext("%(seconds)s h before the impact began") % {"seconds": seconds // 3600}


def _together(made: Iterable[Suspect]) -> list[Suspect]:
    """The same change by the same hand on several hosts, within ten minutes of the next, as one: the nearest counts."""
    kept: list[Suspect] = []
    for one in made:
        same = next(
            (
                other
                for other in kept
                if (other.action, other.what, other.who) == (one.action, one.what, one.who)
                and other.hosts
                and one.hosts
                and other.at - one.at <= timedelta(minutes=10)
            ),
            None,
        )
        if same is None:
            kept.append(one)
        else:
            same.hosts = sorted({*same.hosts, *one.hosts})
            if one.weight > same.weight:
                same.weight, same.why, same.at, same.event = one.weight, one.why, one.at, one.event
    return kept
