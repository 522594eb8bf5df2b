"""What an erased person wrote, in the rows that incidents are worked with."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from audit.queries import record_of
from incidents.working.models import SavedView, Task


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the words of the person's tasks, and drop the names of their saved lists; counts by table."""
    datas = [record_of(one.event)["data"] for one in written if one.event.action == "incident.add_task"]
    tasks = Task.objects.filter(pk__in=[data["task"] for data in datas])
    views = SavedView.objects.filter(user__pseudonym=subject) if subject else SavedView.objects.none()
    return {"working_task": tasks.update(text=ERASED), "working_savedview": views.delete()[0]}
