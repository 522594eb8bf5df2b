"""What an approver is shown of the incident beside the plan: its frozen evidence, and the breaches as they went."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Max, QuerySet
from django.utils.translation import gettext

from accounts.approvals.models import ApprovalRequest
from accounts.approvals.subjects import Section
from audit.canonical import instant
from audit.english import in_english
from incidents.models import Incident
from monitoring.models import Answer, Finding

RULES_SHOWN = 4
WINDOWS_SHOWN = 24


def incident_sections(request: ApprovalRequest) -> list[Section]:
    """The sections for a request that belongs to an incident; none for others."""
    incident = Incident.objects.filter(ref=request.incident_ref).first() if request.incident_ref else None
    if incident is None:
        return []
    claims = list(incident.evidence.values_list("claim", flat=True))
    sections: list[Section] = []
    if claims:
        sections.append(
            {
                "title": gettext("What was found in %(ref)s") % {"ref": incident.ref},
                "kind": "list",
                "rows": claims,
                "note": gettext("As it stood when it was frozen with the incident."),
            }
        )
    courses = _courses(incident)
    if courses:
        sections.append({"title": gettext("How the breaches went"), "kind": "claims", "rows": courses})
    return sections


def _courses(incident: Incident) -> list[dict[str, object]]:
    """Each rule in breach on the incident's endpoint with its value in the newest windows, oldest first."""
    if incident.endpoint_id is None:
        return []
    found = Finding.objects.filter(window__endpoint=incident.endpoint_id, value__isnull=False)
    breached = found.filter(answer=Answer.BREACH).values("rule", "version", "host")
    newest = breached.annotate(newest=Max("window__start")).order_by("-newest")[:RULES_SHOWN]
    return [_course(list(_windows(found, row))) for row in newest]


def _windows(found: QuerySet[Finding], row: dict[str, Any]) -> Iterator[Finding]:
    series = found.filter(rule=row["rule"], version=row["version"], host=row["host"])
    newest = series.select_related("window", "rule").order_by("-window__start")[:WINDOWS_SHOWN]
    return reversed(newest)


def _course(series: list[Finding]) -> dict[str, object]:
    last = series[-1]
    limit = "" if last.limit is None else (gettext("limit %(limit)s") % {"limit": f"{last.limit:.4g}"})
    until = f"{instant(last.window.end)[:19].replace('T', ' ')} UTC"
    return {
        "claim": last.sentence,
        "number": f"{last.value:.4g}",
        "limit": limit,
        "window": gettext("%(count)s windows until %(until)s, %(rows)s rows in the last")
        % {"count": len(series), "until": until, "rows": last.rows},
        "source": in_english(last.rule.get_kind_display),
        "values": [finding.value for finding in series],
        "spark_limit": last.limit,
        "spark_label": gettext("from %(first)s to %(last)s")
        % {"first": f"{series[0].value:.4g}", "last": f"{last.value:.4g}"},
        "tone": "bad" if last.answer == Answer.BREACH else "quiet",
    }
