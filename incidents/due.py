"""What the clock must wake on this floor."""

from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, Subquery

from audit.due import Due, in_turns
from audit.models import AuditEvent
from incidents.duties import unwarned
from incidents.follow import rollbacks_of
from incidents.grouping.models import GroupMember
from incidents.models import (
    OPEN_STATES,
    Incident,
    IncidentAlert,
    IncidentState,
    Review,
    ReviewState,
    StatusComponent,
    StatusPage,
)
from incidents.rollback.models import Candidate, Run, RunState
from incidents.status import NARRATION
from monitoring.models import Alert
from registry.models import Version

LATE = timedelta(seconds=3)
REWRITE = timedelta(minutes=5)


def untaken_alerts(now: datetime) -> list[int]:
    """Firing alerts that no incident has, nothing suppresses, and no rule lets wait for more of their kind, a few
    seconds after they fired: the message was lost."""
    taken = IncidentAlert.objects.filter(alert=OuterRef("pk"))
    waits = GroupMember.objects.filter(alert=OuterRef("pk"), group__ready_at=None)
    found = Alert.objects.filter(
        ~Exists(taken), ~Exists(waits), state="firing", suppressed_by="", fired_at__lte=now - LATE
    )
    return in_turns(found.order_by("fired_at").values_list("pk", flat=True), now, most=100, seconds=10)


def unranked_incidents(now: datetime) -> list[int]:
    """Open incidents without a ranking, some time after one was asked for, on endpoints of whose model there is a
    version: a ranking of none stores nothing by which it could be told from one that is missing. One that fails again
    and again is asked for at growing intervals, a quarter of the time that the incident has lasted: each leaves an
    event of the log."""
    ranked = Candidate.objects.filter(incident_ref=OuterRef("ref"))
    versions = Version.objects.filter(model=OuterRef("endpoint__model"))
    examined = AuditEvent.objects.filter(incident=OuterRef("ref"), action="incident.examine").order_by("-occurred_at")
    found = Incident.objects.filter(
        ~Exists(ranked),
        Exists(versions),
        state__in=OPEN_STATES,
        endpoint__isnull=False,
        detected_at__lte=now - timedelta(minutes=2),
    ).annotate(examined_at=Subquery(examined.values("occurred_at")[:1]))
    asked = found.values_list("pk", "detected_at", "examined_at")
    return [pk for pk, since, last in asked if last is None or now - last >= (now - since) / 4][:20]


def unfollowed_runs(now: datetime) -> list[str]:
    """Rollbacks whose incident has not gone where they are: the newest one of each incident."""
    lagging = Incident.objects.filter(ref=OuterRef("plan__incident_ref"))
    later = rollbacks_of(OuterRef("plan__incident_ref")).filter(started_at__gt=OuterRef("started_at"))
    newest = Run.objects.filter(~Exists(later), plan__kind="rollback")
    started = newest.filter(
        Exists(lagging.filter(state__in=[IncidentState.DETECTED, IncidentState.TRIAGED])),
        state__in=[RunState.RUNNING, RunState.HALTED, RunState.COMPENSATING],
        started_at__lte=now - LATE,
    )
    switched = newest.filter(
        Exists(lagging.filter(state=IncidentState.MITIGATING)),
        state=RunState.SWITCHED,
        switched_at__lte=now - LATE,
    ).exclude(watch__state="failed")
    return [str(pk) for pk in (*started.values_list("pk", flat=True)[:20], *switched.values_list("pk", flat=True)[:20])]


def untold_incidents(now: datetime) -> list[int]:
    """Incidents whose state the status pages have not told yet, a few seconds after it could have been."""
    meant = Q(endpoint=OuterRef("endpoint")) | Q(model=OuterRef("endpoint__model"))
    shown = StatusComponent.objects.filter(meant, retired_at=None)
    found = Incident.objects.filter(Exists(shown), state__in=NARRATION, detected_at__lte=now - LATE)
    return list(found.exclude(told_state=F("state")).values_list("pk", flat=True)[:20])


def stale_pages(now: datetime) -> list[int]:
    """Pages that were changed, and public ones whose copy was written some minutes ago: days go by on them as well."""
    old = Q(public=True, published_at__lte=now - REWRITE)
    found = StatusPage.objects.filter(Q(publish_due_at__lte=now - LATE) | old)
    return list(found.values_list("pk", flat=True)[:100])


def empty_reviews(now: datetime) -> list[int]:
    """Reviews that nobody has drafted or touched."""
    found = Review.objects.filter(version=1, state=ReviewState.DRAFT, incident__resolved_at__lte=now - LATE)
    return list(found.values_list("incident_id", flat=True)[:20])


SOURCES = [
    Due(task="incidents.take_alert", queue="intake", ids=untaken_alerts),
    Due(task="incidents.rank_candidates", queue="compute", ids=unranked_incidents),
    Due(task="incidents.follow_run", queue="intake", ids=unfollowed_runs),
    Due(task="incidents.publish_status", queue="intake", ids=untold_incidents),
    Due(task="incidents.publish_page", queue="intake", ids=stale_pages),
    Due(task="incidents.warn_of_duty", queue="intake", ids=unwarned),
    Due(task="incidents.draft_review", queue="intake", ids=empty_reviews),
]
