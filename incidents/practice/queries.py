"""What practice shows: on its own pages, beside candidates and on a plan's page."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals.automatic import is_allowed
from accounts.approvals.queries import NoPolicy, policy_for
from incidents.practice.models import Attempt, Drill, DrillSchedule, DrillState
from incidents.practice.readiness import Readiness, readiness_of, readiness_of_all, spell
from incidents.rollback.models import PlanKind
from registry.models import Endpoint, Environment, Host, Model, Version

__all__ = ["Readiness", "readiness_of", "readiness_of_all"]


def drills() -> QuerySet[Drill]:
    """Drills with what a list of them shows, newest first."""
    return Drill.objects.select_related("endpoint__model", "version", "plan__from_version", "asked_by").order_by(
        "-asked_at", "pk"
    )


def drills_of(model: Model) -> QuerySet[Drill]:
    return drills().filter(endpoint__model=model)


def staging_of(model: Model) -> list[Endpoint]:
    """The endpoints on which a model is drilled."""
    return list(Endpoint.objects.filter(model=model, environment=Environment.STAGING).order_by("slug"))


def schedules_of(endpoints: Sequence[Endpoint]) -> dict[int, DrillSchedule]:
    rows = DrillSchedule.objects.filter(endpoint__in=endpoints).select_related("set_by", "endpoint")
    return {row.endpoint_id: row for row in rows}


def spare_hosts() -> QuerySet[Host]:
    """Hosts that serve nothing."""
    return Host.objects.filter(placements=None, drained_at=None).order_by("name")


def facts(row: Readiness) -> dict[str, Any]:
    """A readiness as the API gives it out."""
    drill = row.drill
    return {
        "endpoint": row.endpoint.slug,
        "model": row.endpoint.model.slug,
        "serves": None if row.live is None else row.live.number,
        "target": None if row.version is None else row.version.number,
        "target_digest": None if row.version is None else row.version.digest,
        "state": row.state,
        "sentence": row.sentence,
        "hindrances": row.hindrances,
        "notes": row.notes,
        "warm": row.warm,
        "seconds": row.seconds,
        "seconds_low": row.predicted and row.predicted.low,
        "seconds_high": row.predicted and row.predicted.high,
        "load_seconds": row.load_seconds,
        "needs": row.needs,
        "tested_at": None if drill is None else drill.ended_at,
        "drill": None if drill is None else drill.pk,
    }


def policy_lets(endpoint: Endpoint) -> bool:
    """Whether the approval policy for rollbacks of the endpoint lets one start by itself."""
    try:
        policy = policy_for(
            subject_kind=PlanKind.ROLLBACK, risk_tier=endpoint.model.risk_tier, environment=endpoint.environment
        )
    except NoPolicy:
        return False
    return is_allowed(policy)


def attempts_of(endpoint: Endpoint) -> QuerySet[Attempt]:
    """What rules made of the endpoint's incidents, newest first."""
    return Attempt.objects.filter(endpoint=endpoint).select_related("incident", "rule", "plan").order_by("-began_at")


def drilled_words(version: Version) -> str:
    """What the last drill of the version says of it, where that has passed lately: “Ready, about 40 s: …”; else ""."""
    since = Now() - timedelta(days=settings.LASTGOOD_DRILL_FRESH_DAYS)
    passed = Drill.objects.filter(version=version, state=DrillState.PASSED, ended_at__gte=since)
    drill = passed.select_related("endpoint").order_by("-ended_at").first()
    if drill is None:
        return ""
    named = {"day": f"{drill.ended_at:%Y-%m-%d}", "endpoint": drill.endpoint.slug}
    if drill.checked_seconds is None:
        return gettext("Ready: drilled on %(day)s at %(endpoint)s.") % named
    named["duration"] = gettext("about %(seconds)s") % {"seconds": spell(drill.checked_seconds)}
    return gettext("Ready, %(duration)s: drilled on %(day)s at %(endpoint)s.") % named
