"""What readers outside are told, and that they are told it with the database down as well."""

import json
import threading
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.actions import create_user, grant_role
from incidents import actions, due, status, status_files, status_words
from incidents.errors import IncidentError
from incidents.models import ComponentState, Incident, IncidentState, StatusPage, StatusPost
from incidents.rollback.models import RunState, WatchState
from incidents.status_json import bodies
from incidents.status_render import Picture, page_html
from incidents.telling import maintenance
from registry.actions import register_model
from tests.api.programs import Program
from tests.incidents import world as worlds
from tests.incidents.world import TEST, World, events
from tests.waiting import until

ATOM = "{http://www.w3.org/2005/Atom}"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def through(world: World, incident: Incident, *states: str) -> None:
    """Move the incident through the states and tell each, as the tasks do."""
    for state in states:
        Incident.objects.filter(pk=incident.pk).update(
            state=state, mitigated_at=timezone.now(), resolved_at=timezone.now()
        )
        status.narrate(incident_id=incident.pk)


def test_a_page_goes_from_operational_to_degraded_to_monitoring_to_operational(world: World) -> None:
    page = world.status_page()
    incident = world.incident()
    component = page.components.get()
    seen = [component.state]
    for state in ("triaged", "mitigating", "monitoring", "resolved"):
        through(world, incident, state)
        component.refresh_from_db()
        seen.append(component.state)
    assert seen == ["operational", *["degraded_performance"] * 3, "operational"]
    told = list(StatusPost.objects.order_by("at", "id").values_list("status", flat=True))
    assert told == ["investigating", "identified", "monitoring", "resolved"]
    assert len(events(incident, "status.post")) == 4


def test_the_same_state_is_told_once_however_often_it_is_asked_for(world: World) -> None:
    world.status_page()
    incident = world.incident()
    through(world, incident, "triaged", "triaged", "triaged")
    assert StatusPost.objects.count() == 1


def test_what_a_person_has_told_is_not_told_over_by_lastgood(world: World) -> None:
    page = world.status_page()
    incident = world.incident()
    through(world, incident, "triaged")
    status.post(
        page=page, incident=incident, status="identified", component_state="partial_outage",
        text="Letters stop until noon.", by=world.users["kofi"], actor=world.actor("kofi"),
    )  # fmt: skip
    status.narrate(incident_id=incident.pk)
    assert StatusPost.objects.first().text == "Letters stop until noon."
    assert StatusPost.objects.count() == 2


def test_abuse_24_nothing_internal_is_told(world: World) -> None:
    world.status_page()
    incident = world.incident()
    through(world, incident, "triaged", "mitigating", "monitoring", "resolved")
    html = Client().get("/status/services/").content.decode()
    for internal in ("employment-production", "h1", "INC-1", "version 2", "Rosa"):
        assert internal not in html.replace("<h1>", "").replace("</h1>", "")
    assert "Letters that offer job support" in html


def test_an_incident_that_was_never_told_is_not_told_when_it_is_resolved(world: World) -> None:
    world.status_page()
    incident = world.incident()
    through(world, incident, "resolved")
    assert not StatusPost.objects.exists()


@pytest.mark.parametrize(("state", "text"), [("bogus", "x"), ("degraded_performance", " ")])
def test_a_post_without_words_or_with_an_unknown_state_is_refused(world: World, state: str, text: str) -> None:
    page = world.status_page()
    incident = world.incident()
    with pytest.raises(IncidentError):
        status.post(
            page=page, incident=incident, status="identified", component_state=state, text=text,
            by=None, actor=world.actor("kofi"),
        )  # fmt: skip
    assert not StatusPost.objects.exists()
    assert page.components.get().state == ComponentState.OPERATIONAL


def test_a_commander_posts_through_the_form_and_a_viewer_may_not(world: World) -> None:
    world.status_page()
    incident = world.incident()
    typed = {
        "incident": incident.ref,
        "status": "identified",
        "component_state": "degraded_performance",
        "text": "Letters may go to the wrong people.",
        "minutes": 20,
    }
    assert world.client("vera").post("/status/services/post/", typed).status_code == 403
    assert not StatusPost.objects.exists()
    assert world.client("kofi").post("/status/services/post/", typed).status_code == 302
    assert StatusPost.objects.get().by == world.users["kofi"]
    assert b"Letters may go to the wrong people." in Client().get("/status/services/").content


@pytest.mark.parametrize("by_api", [False, True])
def test_an_incident_without_an_endpoint_is_told_of_the_components_that_a_person_chooses(
    world: World, by_api: bool
) -> None:
    # given an incident behind which no component stands
    page = world.status_page()
    Incident.objects.create(
        number=9, ref="INC-9", title="The mail does not go", severity=1, group_key="mail", detected_at=timezone.now()
    )
    typed: dict[str, Any] = {"incident": "INC-9", "status": "investigating", "component_state": "major_outage"}
    typed["text"] = "No letters are sent."

    def send(**more: Any) -> Any:
        if by_api:
            client = Program(world.users["kofi"], "status.publish")
            return client.ask("POST", "/api/v1/status-pages/services/posts/", typed | more)
        return world.client("kofi").post("/status/services/post/", typed | more)

    # when nothing is chosen, then nothing is told
    refused = send()
    assert refused.status_code >= 400
    assert b"Choose the components" in refused.content
    assert not StatusPost.objects.exists()
    # when a component is chosen, then it is in that state, until the end of the incident is told
    assert send(components=[page.components.get().pk]).status_code < 400
    assert page.components.get().state == ComponentState.MAJOR_OUTAGE
    assert send(text="We found it.").status_code < 400
    assert [len(one.affected) for one in StatusPost.objects.all()] == [1, 1]
    assert send(status="resolved", component_state="operational").status_code < 400
    assert page.components.get().state == ComponentState.OPERATIONAL
    assert [one["name"] for one in StatusPost.objects.order_by("-id")[0].affected] == ["Letters that offer job support"]


@pytest.mark.parametrize("by_api", [False, True])
def test_abuse_who_publishes_for_one_model_tells_nothing_of_anothers_component(world: World, by_api: bool) -> None:
    page = world.status_page()
    strange = register_model(slug="mortgages", name="Mortgages", team="ml", actor=TEST)
    other = status.add_component(page=page, name="Mortgages", model=strange, actor=TEST)
    incident = world.incident()
    otto = create_user(username="otto", email="", full_name="Otto", password="x9 battery staple", roles=[], actor=TEST)
    grant_role(user=otto, role="commander", granted_by=None, scope={"models": ["employment"]}, actor=TEST)
    world.users["otto"] = otto
    typed = {"incident": incident.ref, "status": "investigating", "component_state": "major_outage", "text": "Down."}
    typed |= {"components": [other.pk]}
    if by_api:
        answer = Program(otto, "status.publish").ask("POST", "/api/v1/status-pages/services/posts/", typed)
    else:
        answer = world.client("otto").post("/status/services/post/", typed)
    assert answer.status_code == 403
    assert not StatusPost.objects.exists()


def test_all_pages_are_held_before_the_first_word_is_recorded(world: World) -> None:
    # given an incident that two pages show
    world.status_page()
    second = status.create_page(slug="second", name="Second", description="", public=True, actor=TEST)
    status.add_component(page=second, name="Letters", endpoint=world.endpoint, actor=TEST)
    incident = world.incident()
    # when it is told
    with CaptureQueriesContext(connection) as asked:
        through(world, incident, "triaged")
    # then the rows of both are locked by one statement, ahead of any post and its event
    said = [one["sql"] for one in asked]
    held = next(n for n, one in enumerate(said) if 'FROM "incidents_statuspage"' in one and "FOR NO KEY UPDATE" in one)
    assert held < next(n for n, one in enumerate(said) if one.startswith('INSERT INTO "incidents_statuspost"'))
    assert StatusPost.objects.count() == 2


@pytest.mark.parametrize(("models", "codes"), [(["another"], (403, 403)), (["employment"], (302, 201))])
def test_a_commander_of_other_models_tells_nothing_of_this_one(
    world: World, models: list[str], codes: tuple[int, int]
) -> None:
    world.status_page()
    incident = world.incident()
    otto = create_user(username="otto", email="", full_name="Otto", password="x9 battery staple", roles=[], actor=TEST)
    grant_role(user=otto, role="commander", granted_by=None, scope={"models": models}, actor=TEST)
    world.users["otto"] = otto
    typed = {"incident": incident.ref, "status": "investigating", "component_state": "degraded_performance"}
    typed["text"] = "Letters may go to the wrong people."

    page = world.client("otto").post("/status/services/post/", typed)
    api = Program(otto, "status.publish").ask("POST", "/api/v1/status-pages/services/posts/", typed)

    assert (page.status_code, api.status_code) == codes
    assert StatusPost.objects.filter(by=otto).count() == (0 if codes[0] == 403 else 2)


def test_a_maintenance_that_is_planned_while_a_page_is_read_does_not_break_it(world: World) -> None:
    page = world.status_page()
    components, planned = list(page.components.all()), []

    def plan_after_the_first(execute: Any, sql: str, *rest: Any) -> Any:
        answer = execute(sql, *rest)
        if not planned and any(f'FROM "{name}"' in sql for name in ("telling_maintenance", "incidents_statuspost")):
            planned.append(sql)
            maintenance.plan(
                page=page, title="New driver", text="No letters.", components=components, by=None, actor=TEST,
                starts_at=timezone.now() + HOUR, ends_at=timezone.now() + 2 * HOUR,
            )  # fmt: skip
        return answer

    with connection.execute_wrapper(plan_after_the_first):
        picture = Picture(page)
    assert len(planned) == 1
    assert "Planned maintenance" not in page_html(picture)
    assert json.loads(json.dumps(bodies(picture)["api/v2/scheduled-maintenances.json"]))["scheduled_maintenances"] == []
    assert "Planned maintenance" in page_html(Picture(page))


def test_an_older_picture_of_a_page_is_never_written_over_a_newer_one(
    committed_db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a publisher that has read a page and stands still before it writes
    page = status.create_page(slug="services", name="Before", description="", public=True, actor=TEST)
    has_read, may_write, real = threading.Event(), threading.Event(), status_files._write
    slow: list[threading.Thread] = []

    def write(path: Path, body: bytes) -> None:
        if threading.current_thread() in slow and not has_read.is_set():
            has_read.set()
            may_write.wait(20)
        real(path, body)

    def publish() -> None:
        try:
            status_files.publish_page(page_id=page.pk)
        finally:
            connections.close_all()

    monkeypatch.setattr(status_files, "_write", write)
    slow.append(threading.Thread(target=publish))
    slow[0].start()
    assert has_read.wait(20)
    # when the page is changed, and a second publisher comes
    status.edit_page(page=page, actor=TEST, seen_version=page.version, name="After")
    quick = threading.Thread(target=publish)
    quick.start()
    until(lambda: not quick.is_alive() or _waits_for_a_lock(committed_db), seconds=20)
    may_write.set()
    for one in (*slow, quick):
        one.join(20)
    # then what stands there is the newer, and nothing is due
    assert b"After" in (status_files.directory("services") / "index.html").read_bytes()
    assert StatusPage.objects.get().publish_due_at is None
    status_files.withdraw("services")


def _waits_for_a_lock(committed_db: Any) -> bool:
    return bool(committed_db.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


def test_a_page_that_is_changed_while_it_is_written_is_due_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    page = world.status_page()
    real = status_files._write

    def write(path: Path, body: bytes) -> None:
        StatusPage.objects.filter(pk=page.pk).update(version=99, publish_due_at=None)
        real(path, body)

    monkeypatch.setattr(status_files, "_write", write)
    assert not status_files.publish_page(page_id=page.pk)
    assert StatusPage.objects.get().publish_due_at is not None


def test_a_public_page_has_no_script_is_small_and_is_answered_304_while_nothing_changed(world: World) -> None:
    page = world.status_page()
    through(world, world.incident(), "triaged", "mitigating")
    status_files.publish_page(page_id=page.pk)
    answer = Client().get("/status/services/feed.atom")
    again = Client().get("/status/services/feed.atom", headers={"If-None-Match": answer["ETag"]})
    html = Client().get("/status/services/").content
    assert b"<script" not in html
    assert len(html) < 30_000
    assert again.status_code == 304
    assert "max-age" in answer["Cache-Control"]


def test_the_summary_has_the_shape_of_statuspages(world: World) -> None:
    world.status_page()
    through(world, world.incident(), "triaged", "mitigating")
    found = json.loads(Client().get("/status/services/api/v2/summary.json").content)
    assert set(found) == {"page", "components", "incidents", "scheduled_maintenances", "status"}
    assert found["status"]["indicator"] == "minor"
    assert [component["status"] for component in found["components"]] == ["degraded_performance"]
    incident = found["incidents"][0]
    assert incident["status"] == "identified"
    assert [update["status"] for update in incident["incident_updates"]] == ["identified", "investigating"]
    assert incident["started_at"].endswith("Z")
    through(world, Incident.objects.get(), "resolved")
    assert json.loads(Client().get("/status/services/api/v2/summary.json").content)["incidents"] == []


def test_the_feed_has_one_entry_a_post_newest_first_with_stable_ids(world: World) -> None:
    world.status_page()
    through(world, world.incident(), "triaged", "mitigating")
    first, second = (ET.fromstring(Client().get("/status/services/feed.atom").content) for _ in range(2))
    ids = [entry.find(f"{ATOM}id").text for entry in first.findall(f"{ATOM}entry")]
    assert len(ids) == 2
    assert first.find(f"{ATOM}updated").text == second.find(f"{ATOM}updated").text
    assert ids == [entry.find(f"{ATOM}id").text for entry in second.findall(f"{ATOM}entry")]
    assert "A remedy is under way." in first.find(f"{ATOM}entry/{ATOM}content").text


def test_publishing_writes_a_copy_that_works_as_a_file(world: World, tmp_path: Path) -> None:
    page = world.status_page()
    assert due.stale_pages(timezone.now() + timedelta(minutes=1)) == [page.pk]
    assert status_files.publish_page(page_id=page.pk) is True
    copy = tmp_path / "status" / "services"
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == set(status_files.KINDS)
    assert 'href="status.css"' in (copy / "index.html").read_text()
    assert StatusPage.objects.get().publish_due_at is None
    assert due.stale_pages(timezone.now() + timedelta(minutes=1)) == []


def test_a_page_for_signed_in_people_has_no_copy_and_is_not_shown_to_strangers(world: World, tmp_path: Path) -> None:
    page = world.status_page()
    StatusPage.objects.update(public=False)
    status_files.publish_page(page_id=page.pk)
    assert not (tmp_path / "status" / "services").exists()
    assert Client().get("/status/services/").status_code == 302
    assert world.client("vera").get("/status/services/").status_code == 200
    assert b"services" not in Client().get("/status/").content


def test_the_page_is_served_from_its_copy_when_the_database_is_down(
    committed_db: Any, settings: Any, tmp_path: Path, free_port: Any
) -> None:
    # given a page that was published while the database was up
    settings.LASTGOOD_VAR = tmp_path
    world = worlds.build()
    page = world.status_page()
    through(world, world.incident(), "triaged")
    status_files.publish_page(page_id=page.pk)
    # when the database is gone
    wrapper = connections["default"]
    wrapper.close()
    before = wrapper.settings_dict["HOST"], wrapper.settings_dict["PORT"]
    wrapper.settings_dict |= {"HOST": "127.0.0.1", "PORT": str(free_port())}
    try:
        found = Client().get("/status/services/")
        sheet = Client().get("/status/services/status.css")
        feed = Client().get("/status/services/feed.atom")
        absent = Client(raise_request_exception=False).get("/status/other/")
    finally:
        wrapper.close()
        wrapper.settings_dict["HOST"], wrapper.settings_dict["PORT"] = before
    # then its readers are told all the same
    assert found.status_code == sheet.status_code == feed.status_code == 200
    assert "People are working on it." in found.content.decode()
    assert absent.status_code == 404


def test_the_clock_finds_an_incident_whose_state_was_not_told(world: World) -> None:
    world.status_page()
    incident = world.incident()
    late = timezone.now() + timedelta(minutes=1)
    assert due.untold_incidents(late) == []
    Incident.objects.update(state=IncidentState.TRIAGED)
    assert due.untold_incidents(late) == [incident.pk]
    status.narrate(incident_id=incident.pk)
    assert due.untold_incidents(late) == []


def test_a_verified_rollback_is_told_in_words_when_the_incident_is_resolved(world: World) -> None:
    world.status_page()
    incident = world.incident()
    through(world, incident, "triaged", "monitoring")
    world.run(incident, state=RunState.SWITCHED, watch=WatchState.PASSED)
    incident.refresh_from_db()
    actions.resolve(incident=incident, reason="Back.", actor=world.actor("kofi"))
    status.narrate(incident_id=incident.pk)
    assert StatusPost.objects.first().text.startswith("“Letters that offer job support” works as it should again.")


def test_nobody_is_told_of_a_change_undone_where_no_rollback_was_started(world: World) -> None:
    world.status_page()
    incident = world.incident()
    through(world, incident, "triaged", "mitigating")
    assert status_words.sentence_for(incident, "Letters", "identified").endswith("A remedy is under way.")
    world.run(incident, state=RunState.RUNNING)
    assert status_words.sentence_for(incident, "Letters", "identified").endswith("A recent change is being undone now.")
