"""Tasks of an incident: owned, due, settled once, and on the first page of who has them."""

from datetime import timedelta
from typing import Any

import pytest

from audit.clock import database_now
from incidents.errors import IncidentError
from incidents.models import Incident
from incidents.working import todo
from incidents.working.models import Task, TaskState
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")


def added(world: World, incident: Incident, **fields: Any) -> Task:
    values = {"incident": incident, "text": "Ask who changed the feed.", "actor": world.actor("rosa")}
    return todo.add_task(**(values | fields))


def test_a_task_stands_on_the_first_page_of_its_owner_until_it_is_done(world: World) -> None:
    incident = world.incident()
    due = database_now() + timedelta(hours=1)
    task = added(world, incident, owner=world.users["kofi"], due_at=due)
    assert "Your task: Ask who changed the feed." in world.client("kofi").get("/").content.decode()
    assert "Ask who changed the feed." not in world.client("rosa").get("/").content.decode()
    todo.settle_task(task=task, state=TaskState.DONE, actor=world.actor("kofi"))
    assert "Ask who changed the feed." not in world.client("kofi").get("/").content.decode()


def test_a_task_is_settled_once_and_dropped_with_a_reason(world: World) -> None:
    incident = world.incident()
    task = added(world, incident)
    with pytest.raises(IncidentError, match="why it is not needed"):
        todo.settle_task(task=task, state=TaskState.DROPPED, actor=world.actor("rosa"))
    todo.settle_task(task=task, state=TaskState.DROPPED, reason="Found by itself.", actor=world.actor("rosa"))
    with pytest.raises(IncidentError, match="settled before"):
        todo.settle_task(task=task, state=TaskState.DONE, actor=world.actor("rosa"))
    assert len(events(incident, "incident.settle_task")) == 1


def test_a_task_is_given_to_somebody_else(world: World) -> None:
    task = added(world, world.incident())
    todo.assign_task(task=task, owner=world.users["kofi"], actor=world.actor("rosa"))
    with pytest.raises(IncidentError, match="has it already"):
        todo.assign_task(task=task, owner=world.users["kofi"], actor=world.actor("rosa"))
    assert Task.objects.get().owner == world.users["kofi"]
    with pytest.raises(IncidentError, match="to somebody else since you looked"):
        todo.assign_task(task=task, owner=world.users["rosa"], actor=world.actor("rosa"), seen_owner=0)
    assert Task.objects.get().owner == world.users["kofi"]


def test_tasks_go_through_the_pages(world: World) -> None:
    incident = world.incident()
    rosa, base = world.client("rosa"), f"/incidents/{incident.ref}"
    typed = {"text": "Call the vendor.", "owner": world.users["kofi"].pk}
    assert rosa.post(f"{base}/task/", typed)["Location"] == f"{base}/work/"
    task = Task.objects.get()
    assert rosa.post(f"{base}/assign-task/", {"task": task.pk, "owner": world.users["rosa"].pk}).status_code == 302
    assert rosa.post(f"{base}/drop-task/", {"task": task.pk}).status_code == 409
    assert rosa.post(f"{base}/task-done/", {"task": task.pk}).status_code == 302
    assert Task.objects.get().state == TaskState.DONE


def test_tasks_over_the_api(world: World) -> None:
    base = f"/api/v1/incidents/{world.incident().ref}/tasks/"
    rosa = world.client("rosa")
    made = rosa.post(base, {"text": "Call.", "owner": "kofi"}, content_type="application/json").json()
    assert (made["owner"], made["state"]) == ("kofi", "open")
    answer = rosa.post(f"{base}{made['id']}/settle/", {"state": "done"}, content_type="application/json")
    assert answer.json()["state"] == "done"
    assert [task["state"] for task in rosa.get(base).json()] == ["done"]


def test_the_words_of_a_task_go_when_who_wrote_them_is_erased(world: World) -> None:
    from audit.erasure import Written
    from audit.models import AuditEvent
    from incidents.working.erasure import erase

    task = added(world, world.incident())
    event = AuditEvent.objects.get(action="incident.add_task")
    assert erase("u-x", [Written(event, task.text)]) == {
        "working_task": 1,
        "working_note": 0,
        "working_savedview": 0,
    }
    assert Task.objects.get().text == "[erased]"
