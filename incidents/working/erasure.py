"""What an erased person wrote, in the rows that incidents are worked with."""

from collections.abc import Sequence

from django.db.models import Q

from audit.erasure import ERASED, Written
from audit.queries import record_of
from incidents.working.models import Note, SavedView, Task


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the words of the person's tasks and notes, and drop their saved lists; counts by table."""
    datas = [record_of(one.event)["data"] for one in written if one.event.action == "incident.add_task"]
    tasks = Task.objects.filter(pk__in=[data["task"] for data in datas])
    said = Q()
    for one in written:
        if one.event.action in ("incident.note", "incident.amend"):
            said |= Q(incident__ref=one.event.incident, seq=one.event.incident_seq)
    notes = Note.objects.filter(said) if said else Note.objects.none()
    views = SavedView.objects.filter(user__pseudonym=subject) if subject else SavedView.objects.none()
    return {
        "working_task": tasks.update(text=ERASED),
        "working_note": notes.update(text=ERASED),
        "working_savedview": views.delete()[0],
    }
