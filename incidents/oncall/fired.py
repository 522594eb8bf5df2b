"""What fired, in the lines of a call: whoever is woken should know it before the page has come."""

from collections import defaultdict
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext, ngettext

from incidents.models import Incident
from monitoring.models import Alert, AlertState
from monitoring.rules.queries import shown

MOST_HOSTS = 5
"""Hosts that a line names; of more, their number is said."""


def fired_lines(incident: Incident) -> list[str]:
    """The alert that the incident has had longest of those that fire, which inputs drifted, what each host served then,
    and its link; [] where none fires."""
    mine = Alert.objects.filter(incident_alert__incident=incident, state=AlertState.FIRING)
    alert = mine.order_by("incident_alert__joined_at", "pk").first()
    if alert is None:
        return []
    given = alert.annotations if alert.rule_id or alert.alert_rule_id else {}  # what others annotate is of any shape
    link = f"{settings.LASTGOOD_PUBLIC_URL}{reverse('alert-detail', args=[alert.pk])}"
    told = [
        gettext("Fired: %(summary)s") % {"summary": alert.summary},
        _moved(given.get("features") or []),
        _served(given.get("versions") or {}),
        gettext("The alert: %(link)s") % {"link": link},
    ]
    others = mine.count() - 1
    if others:
        more = ngettext("%(count)s more alert of it fires.", "%(count)s more alerts of it fire.", others)
        told.insert(1, more % {"count": others})
    return [line for line in told if line]


def _moved(features: list[dict[str, Any]]) -> str:
    if not features:
        return ""
    named = ", ".join(f"{one['column']} (PSI {shown(one.get('psi'))})" for one in features if one.get("drifted"))
    return gettext("Inputs that drifted: %(named)s.") % {"named": named} if named else gettext("No input drifted.")


def _served(versions: dict[str, str]) -> str:
    hosts: dict[str, list[str]] = defaultdict(list)
    for host, version in versions.items():
        hosts[version].append(host)
    parts = [
        gettext("version %(version)s on %(hosts)s") % {"version": version, "hosts": _named(names)}
        for version, names in sorted(hosts.items())
    ]
    return gettext("Served then: %(parts)s.") % {"parts": "; ".join(parts)} if parts else ""


def _named(hosts: list[str]) -> str:
    if len(hosts) > MOST_HOSTS:
        return gettext("%(number)s hosts") % {"number": len(hosts)}
    return ", ".join(hosts)
