"""When it began, was seen, opened, taken, stopped hurting and was over: apart, in order, and correctable on record."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from audit.actions import Actor
from audit.clock import database_now
from audit.models import AuditEvent
from audit.queries import reason_of, record_of
from incidents import narrative
from incidents.actions import change
from incidents.errors import GuardFailed, IncidentError
from incidents.models import Incident

TIMES: dict[str, str] = {name: label.capitalize() for name, label in narrative.TIMES.items()}
"""In the order in which they may stand."""
CORRECTED = "incident.correct_time"
CLOCKS_APART = timedelta(seconds=2)
"""By how much a sender's clock may be ahead before its order counts."""


@dataclass(frozen=True)
class Correction:
    """That somebody put one moment right: what it was before stays on record."""

    which: str
    before: str
    after: str
    why: str
    who: str
    at: datetime

    @property
    def label(self) -> str:
        return TIMES[self.which].lower()


def moments_of(incident: Incident) -> list[tuple[str, str, datetime | None]]:
    """Field, name and moment of each, in order."""
    return [(name, label, getattr(incident, name)) for name, label in TIMES.items()]


def _guard_order(incident: Incident, which: str, at: datetime) -> None:
    """Raises GuardFailed where the moment would stand after a later one, before an earlier one, or ahead of now."""
    if at > database_now() + CLOCKS_APART:
        raise GuardFailed(
            "time_not_ahead",
            gettext("%(at)s UTC has not come yet. Give a moment that has.") % {"at": f"{at:%Y-%m-%d %H:%M:%S}"},
        )
    names = list(TIMES)
    for other in names:
        moment = getattr(incident, other)
        if moment is None or other == which:
            continue
        if names.index(other) < names.index(which) and moment > at + CLOCKS_APART:
            raise GuardFailed(
                "times_in_order",
                gettext("%(time)s can't be before %(other)s, %(utc)s.")
                % {"time": _said(which), "other": _said(other), "utc": _utc(moment)},
            )
        if names.index(other) > names.index(which) and moment < at - CLOCKS_APART:
            raise GuardFailed(
                "times_in_order",
                gettext("%(time)s can't be after %(other)s, %(utc)s.")
                % {"time": _said(which), "other": _said(other), "utc": _utc(moment)},
            )


def _said(which: str) -> str:
    return f"“{TIMES[which].lower()}”"


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@transaction.atomic
def correct_time(
    *, incident: Incident, which: str, at: datetime, reason: str, actor: Actor, seen_version: int | None = None
) -> Incident:
    """Put one of TIMES right, with the reason. A moment that was never reached can't be made up: the lifecycle sets it.

    Raises GuardFailed (time_reached, time_not_ahead, times_in_order, correction_needs_reason) and Conflict.
    """
    if which not in TIMES:
        raise IncidentError(
            gettext("There is no time %(which)s. The times are: %(names)s.")
            % {"which": which, "names": ", ".join(TIMES)}
        )
    if not reason.strip():
        raise GuardFailed("correction_needs_reason", gettext("Say in a sentence how you know the right time."))
    before = getattr(incident, which)
    if before is None and which != "impact_started_at":
        raise GuardFailed(
            "time_reached",
            gettext("%(ref)s was not %(name)s yet; there is nothing to correct.")
            % {"ref": incident.ref, "name": TIMES[which].lower()},
        )
    if timezone.is_naive(at):
        raise IncidentError(gettext("Give the time with its zone; UTC is best."))
    if before == at:
        raise IncidentError(
            gettext("%(time)s is %(utc)s already. Nothing was changed.") % {"time": TIMES[which], "utc": _utc(at)}
        )
    _guard_order(incident, which, at)
    data = {
        "which": which,
        "before": before.astimezone(UTC).isoformat() if before else "",
        "after": at.astimezone(UTC).isoformat(),
    }
    return change(
        incident, seen_version=seen_version, action=CORRECTED, actor=actor, data=data, reason=reason, **{which: at}
    )


def corrections(incident: Incident) -> list[Correction]:
    """All corrections of the incident's times, oldest first, from the log."""
    from audit import names, private

    found = AuditEvent.objects.filter(incident=incident.ref, action=CORRECTED).order_by("incident_seq")
    events = list(found.select_related(private.SELECT))
    called = names.display({event.actor for event in events})
    rows = []
    for event in events:
        data = record_of(event)["data"]
        rows.append(
            Correction(
                data["which"], data["before"], data["after"], reason_of(event), called[event.actor], event.occurred_at
            )
        )
    return rows
