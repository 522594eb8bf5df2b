"""Alerts that fire and end again and again: shown, and said once; nobody is woken each time.

An alert that fired more than LASTGOOD_FLAPPING_TIMES times in LASTGOOD_FLAPPING_SECONDS is held back from then on,
until it has not fired anew for so long; but only while an incident that had it is open, so that somebody knows of it.
What something else held back, such as a maintenance, is not counted. Everything follows from the alerts themselves; the
table `Flap` only remembers what an incident was told.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from incidents.grouping.models import Flap
from incidents.models import OPEN_STATES, Incident
from monitoring.models import Alert, AlertState

KIND = "flapping"
NOTER = service_actor("incidents")
AT_ONCE = 100
FIRED_LATELY = """
    SELECT id, suppressed_by FROM monitoring_alert
    WHERE fingerprint = %s AND fired_at > statement_timestamp() - %s AND (suppressed_by IN ('', %s) OR id = %s)
    LIMIT 1000
"""
"""Said once and not composed anew: it is asked for every alert that fires."""


def span() -> timedelta:
    return timedelta(seconds=settings.LASTGOOD_FLAPPING_SECONDS)


def why(alert: Alert) -> str:
    """KIND for an alert that has fired too often lately, or was held back for it and has not been quiet since."""
    with connection.cursor() as cursor:
        cursor.execute(FIRED_LATELY, [alert.fingerprint, span(), KIND, alert.pk])
        fired = dict(cursor.fetchall())
    others = [by for pk, by in fired.items() if pk != alert.pk]
    itself = alert.pk is None or alert.pk in fired
    if itself and alert.suppressed_by == KIND:
        return KIND
    often = len(others) + itself > settings.LASTGOOD_FLAPPING_TIMES or KIND in others
    return KIND if often and _is_known(alert.fingerprint) else ""


def _is_known(mark: str) -> bool:
    return Incident.objects.filter(incident_alerts__alert__fingerprint=mark, state__in=OPEN_STATES).exists()


def words(mark: str) -> str:
    """The same as a sentence."""
    minutes = settings.LASTGOOD_FLAPPING_SECONDS / 60
    return (
        f"It flaps: it fired more than {settings.LASTGOOD_FLAPPING_TIMES} times in {minutes:g} minutes. "
        "It counts again when it has not fired anew for as long."
    )


def times_of(mark: str, since: datetime | None = None) -> int:
    """How often the alert of that fingerprint fired, lately or since a moment."""
    fired = Alert.objects.filter(fingerprint=mark)
    return (fired.filter(fired_at__gte=since) if since else fired.filter(fired_at__gt=Now() - span())).count()


def begin(*, alert_id: int) -> None:
    """Tell the incident of an alert, once for each time in which it flaps, that it is held back."""
    alert = Alert.objects.get(pk=alert_id)
    if alert.suppressed_by != KIND:
        return
    incident = _incident_of(alert.fingerprint)
    try:
        with transaction.atomic():
            flap = Flap.objects.create(fingerprint=alert.fingerprint, incident=incident, summary=alert.summary)
            _note(flap, "incident.alert_flaps", {"times": times_of(alert.fingerprint), "alert": alert.pk})
    except IntegrityError:
        return


def end(*, flap_id: int) -> None:
    """Say that a flapping alert has been quiet for long enough."""
    with transaction.atomic():
        flap = Flap.objects.select_related("incident").get(pk=flap_id)
        times = times_of(flap.fingerprint, flap.begun_at)
        if times_of(flap.fingerprint) or not Flap.objects.filter(pk=flap.pk, ended_at=None).update(
            ended_at=Now(), times=times
        ):
            return
        _note(flap, "incident.alert_quiet", {"times": times})


def _incident_of(mark: str) -> Incident | None:
    found = Incident.objects.filter(incident_alerts__alert__fingerprint=mark)
    return found.order_by("-incident_alerts__alert__fired_at").first()


def _note(flap: Flap, action: str, data: dict[str, int]) -> None:
    # What an outside sender wrote may name people, so it stands beside the log, where it can be erased.
    record(
        action=action,
        target=Target("flap", str(flap.pk)),
        actor=NOTER,
        incident=flap.incident.ref if flap.incident else "",
        data=data,
        reason=flap.summary,
    )


def unnoted(now: datetime) -> list[int]:
    """Alerts that are held back for flapping, of which nothing was said."""
    said = Flap.objects.filter(fingerprint=OuterRef("fingerprint"), ended_at=None)
    held = Alert.objects.filter(~Exists(said), state=AlertState.FIRING, suppressed_by=KIND)
    return list(held.values_list("pk", flat=True)[:AT_ONCE])


def quiet(now: datetime) -> list[int]:
    """Flapping alerts that have not fired for long enough."""
    lately = Alert.objects.filter(fingerprint=OuterRef("fingerprint"), fired_at__gt=now - span())
    return list(Flap.objects.filter(~Exists(lately), ended_at=None).values_list("pk", flat=True)[:AT_ONCE])
