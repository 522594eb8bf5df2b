"""Labels come late: an incident is examined and its targets are ranked again once far more answers have a label."""

from datetime import timedelta

import numpy as np
from django.db.models.functions import Now

from audit.actions import Actor
from audit.clock import database_now
from incidents.diagnosing.due import SOON, UNDECIDED
from incidents.diagnosing.labels import ENOUGH
from incidents.diagnosing.models import LabelWait
from incidents.diagnosing.ranked import examine_and_rank
from incidents.intake import replay_window
from incidents.models import Incident
from monitoring.windows import load_predictions, numpy_column

LEASE = timedelta(minutes=10)
MORE = 2.0
"""So many times the labels known before are worth another look: intervals are then narrower by three tenths."""


def look_again(*, incident_id: int, actor: Actor) -> bool:
    """Count the labels of the incident's answers, and where at least ENOUGH and MORE times as many as before are known,
    examine it and rank its targets anew: evidence is added, the ranking replaced. Whether that was done.

    A message that comes twice finds it taken. What was begun and not ended is begun again after LEASE. Labels are
    counted after SOON, and then whenever the incident is half as old again.
    """
    incident = Incident.objects.select_related("endpoint").get(pk=incident_id)
    if incident.state not in UNDECIDED or incident.endpoint is None:
        return False
    wait, _ = LabelWait.objects.get_or_create(
        incident=incident, defaults={"labelled": _known_before(incident), "look_at": Now()}
    )
    claimed = LabelWait.objects.filter(pk=wait.pk, look_at__lte=Now())
    if not claimed.update(look_at=Now() + LEASE):
        return False
    wait.refresh_from_db()
    labelled = _labelled(incident)
    enough = labelled >= max(ENOUGH, MORE * wait.labelled)
    if enough:
        examine_and_rank(incident=incident, actor=actor)
    now = database_now()
    age = now - (incident.impact_started_at or incident.detected_at)
    known = {"labelled": labelled} if enough else {}
    LabelWait.objects.filter(pk=wait.pk, look_at=wait.look_at).update(look_at=now + max(SOON, age / 2), **known)
    return enough


def _known_before(incident: Incident) -> int:
    newest = incident.evidence.filter(kind="quality").order_by("-pk").first()
    return int(newest.data.get("n", 0)) if newest else 0


def _labelled(incident: Incident) -> int:
    """How many answers of the incident's version have a label by now."""
    start, end = replay_window(incident)
    assert incident.endpoint is not None
    table = load_predictions(incident.endpoint, start, end, versions=[incident.from_version], columns=["label"])
    return int(np.count_nonzero(~np.isnan(numpy_column(table, "label").astype(float))))
