"""The answers of Statuspage's API hold to its shapes, here as a JSON Schema, and the feed is read by a feed reader."""

import json
from datetime import timedelta
from typing import Any

import feedparser
import jsonschema
import pytest
from django.test import Client

from audit.clock import database_now
from audit.models import AuditEvent
from incidents import due, status, status_files
from incidents.models import Incident, StatusPage
from incidents.status_history import next_month
from incidents.status_render import Picture, months
from incidents.telling import maintenance
from incidents.telling import months as frozen
from incidents.telling.models import Month
from tests.incidents.world import TEST, World

pytestmark = pytest.mark.usefixtures("built")

MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)$"}
MAYBE_MOMENT = {"anyOf": [MOMENT, {"type": "null"}]}
TEXT, MAYBE_TEXT = {"type": "string", "minLength": 1}, {"type": ["string", "null"]}
IMPACT = {"enum": ["none", "minor", "major", "critical", "maintenance"]}
STATE = {"enum": ["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"]}


def whole(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False}


def each(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


PAGE = whole(id=TEXT, name=TEXT, url={"type": "string", "pattern": "^https?://"}, time_zone=TEXT, updated_at=MOMENT)
COMPONENT = whole(
    id=TEXT, name=TEXT, status=STATE, created_at=MOMENT, updated_at=MOMENT, position={"type": "integer", "minimum": 1},
    description=MAYBE_TEXT, showcase={"type": "boolean"}, start_date=MAYBE_TEXT, group_id=MAYBE_TEXT, page_id=TEXT,
    group={"type": "boolean"}, only_show_if_degraded={"type": "boolean"},
)  # fmt: skip
COMPONENT["properties"]["components"] = each(TEXT)
COMPONENT |= {"if": {"properties": {"group": {"const": True}}}, "then": {"required": ["components"]}}


def told(statuses: list[str], **more: Any) -> dict[str, Any]:
    update = whole(
        id=TEXT, status={"enum": statuses}, body=TEXT, incident_id=TEXT, created_at=MOMENT, updated_at=MOMENT,
        display_at=MOMENT, deliver_notifications={"type": "boolean"}, custom_tweet=MAYBE_TEXT, tweet_id=MAYBE_TEXT,
        affected_components={"anyOf": [
            {"type": "null"}, each(whole(code=TEXT, name=TEXT, old_status=STATE, new_status=STATE)),
        ]},
    )  # fmt: skip
    return whole(
        id=TEXT, name=TEXT, status={"enum": statuses}, created_at=MOMENT, updated_at=MOMENT, impact=IMPACT,
        monitoring_at=MAYBE_MOMENT, resolved_at=MAYBE_MOMENT, shortlink=TEXT, started_at=MOMENT, page_id=TEXT,
        incident_updates=each(update), components=each(COMPONENT), **more,
    )  # fmt: skip


INCIDENTS = each(told(["investigating", "identified", "monitoring", "resolved", "postmortem"]))
WINDOWS = each(
    told(["scheduled", "in_progress", "verifying", "completed"], scheduled_for=MOMENT, scheduled_until=MOMENT)
)
STATUS = whole(indicator=IMPACT, description=TEXT)
SCHEMAS = {
    "summary": whole(
        page=PAGE, components=each(COMPONENT), incidents=INCIDENTS, scheduled_maintenances=WINDOWS, status=STATUS
    ),
    "status": whole(page=PAGE, status=STATUS),
    "components": whole(page=PAGE, components=each(COMPONENT)),
    "incidents": whole(page=PAGE, incidents=INCIDENTS),
    "incidents/unresolved": whole(page=PAGE, incidents=INCIDENTS),
    "scheduled-maintenances": whole(page=PAGE, scheduled_maintenances=WINDOWS),
    "scheduled-maintenances/upcoming": whole(page=PAGE, scheduled_maintenances=WINDOWS),
    "scheduled-maintenances/active": whole(page=PAGE, scheduled_maintenances=WINDOWS),
}


@pytest.fixture
def page(world: World) -> StatusPage:
    """A page with a group, an incident that is over and one that is not, and maintenance planned and under way."""
    page = world.status_page()
    first = page.components.get()
    group = status.add_component(page=page, name="Letters", is_group=True, actor=TEST)
    page.components.filter(pk=first.pk).update(group=group)
    by_model = status.add_component(page=page, name="All of it", model=world.endpoint.model, actor=TEST)
    for number, states in ((1, ("triaged", "monitoring", "resolved")), (2, ("triaged",))):
        incident = world.incident(version=str(number))
        for state in states:
            Incident.objects.filter(pk=incident.pk).update(state=state, resolved_at=database_now())
            status.narrate(incident_id=incident.pk)
    now = database_now()
    for begins in (timedelta(hours=-1), timedelta(hours=5)):
        maintenance.plan(page=page, title="Driver", text="Letters come later.", components=[by_model], by=None,
                         actor=TEST, starts_at=now + begins, ends_at=now + timedelta(hours=9))  # fmt: skip
    for pk in maintenance.due_maintenances(now):
        maintenance.wake(maintenance_id=pk)
    return page


def test_every_answer_has_statuspages_shape_and_the_written_files_are_the_same(page: StatusPage) -> None:
    places = {name: f"/status/services/api/v2/{name}.json" for name in SCHEMAS}
    before = {name: json.loads(Client().get(place).content) for name, place in places.items()}
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator(schema).validate(before[name])
    status_files.publish_page(page_id=page.pk)
    written = {name: json.loads(Client().get(place).content) for name, place in places.items()}
    assert written == before
    summary = before["summary"]
    assert [one["group"] for one in summary["components"]] == [False, True, False]
    assert summary["components"][1]["components"] == [summary["components"][0]["id"]]
    assert [one["status"] for one in summary["incidents"]] == ["investigating"]
    assert [one["status"] for one in summary["scheduled_maintenances"]] == ["in_progress", "scheduled"]
    assert [one["status"] for one in before["incidents"]["incidents"]] == ["investigating", "resolved"]
    assert before["scheduled-maintenances/active"]["scheduled_maintenances"][0]["status"] == "in_progress"
    assert summary["components"][0]["description"] == "Its answers are less reliable than promised"


def test_feed_readers_find_every_post_newest_first(page: StatusPage) -> None:
    read = feedparser.parse(Client().get("/status/services/feed.atom").content)
    assert not read.bozo
    assert read.version == "atom10"
    assert len(read.entries) == page.posts.count()
    assert len({entry.id for entry in read.entries}) == len(read.entries)
    assert [entry.updated_parsed for entry in read.entries] == sorted(
        (entry.updated_parsed for entry in read.entries), reverse=True
    )
    assert read.entries[0].title.startswith("Under way: All of it")


def test_written_files_are_answered_304_to_whoever_has_them_and_without_a_query(
    page: StatusPage, django_assert_num_queries: Any
) -> None:
    status_files.publish_page(page_id=page.pk)
    for name, kind in status_files.KINDS.items():
        place = f"/status/services/{'' if name == 'index.html' else name}"
        with django_assert_num_queries(0):
            first = Client().get(place)
            again = Client().get(place, headers={"If-None-Match": f'"other", W/{first["ETag"]}'})
            head = Client().head(place)
        assert (first.status_code, first["Content-Type"], again.status_code) == (200, kind, 304)
        assert first["Cache-Control"] == status_files.FRESH
        assert (head.content, head["Content-Length"]) == (b"", str(len(first.content)))
        assert first["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in first
    assert Client().get("/status/services/../services/index.html").status_code == 404


@pytest.mark.parametrize(("readers", "codes"), [([], (200, 200)), (["auditor"], (403, 200))])
def test_a_page_of_some_is_read_by_them_alone(page: StatusPage, world: World, readers: list[str], codes: Any) -> None:
    status_files.publish_page(page_id=page.pk)
    page.refresh_from_db()
    status.edit_page(page=page, seen_version=page.version, public=False, readers=readers, actor=TEST)
    status_files.publish_page(page_id=page.pk)
    assert not status_files.directory("services").exists()
    place = "/status/services/api/v2/summary.json"
    assert Client().get(place).status_code == 302
    assert tuple(world.client(name).get(place).status_code for name in ("vera", "idris")) == codes
    assert world.client("ada").get(place).status_code == 200
    assert world.client("idris").get(place)["Cache-Control"] == "private, no-store"
    listed = b"services" in world.client("vera").get("/status/").content
    assert listed == (codes[0] == 200)


def test_finished_months_are_kept_as_they_were_published(page: StatusPage) -> None:
    born = database_now() - timedelta(days=70)
    page.components.update(created_at=born)
    component = page.components.get(name="All of it")
    assert component.pk in due_components()
    assert frozen.freeze(component_id=component.pk) == len(Month.objects.all()) >= 2
    assert component.pk not in due_components()
    # when what was told of a finished month is told otherwise afterwards
    post = page.posts.order_by("id").first()
    assert post is not None
    page.posts.filter(pk=post.pk).update(at=born, component_state="major_outage", affected=[
        {"id": component.pk, "name": "x", "old": "operational", "new": "major_outage", "quality": ""},
    ])  # fmt: skip
    assert frozen.freeze(component_id=component.pk) == 0
    picture = Picture(page)
    shown = next(one for one in picture.components if one.pk == component.pk)
    told_months = months(shown, picture.histories[component.pk], picture.now)
    assert [one["share"] for one in told_months if one["over"]] == ["100.000 %"] * Month.objects.count()
    assert next_month(Month.objects.earliest("first").first) > born.date()


def due_components() -> list[int]:
    return frozen.unfrozen(database_now())


def test_public_pages_are_written_anew_every_few_minutes(page: StatusPage) -> None:
    status_files.publish_page(page_id=page.pk)
    assert due.stale_pages(database_now()) == []
    assert due.stale_pages(database_now() + due.REWRITE) == [page.pk]


def test_administrators_make_pages_and_fill_them_and_each_change_is_on_record(world: World) -> None:
    ada, kofi = world.client("ada"), world.client("kofi")
    typed = {"slug": "inside", "name": "Inside", "readers": ["auditor"], "by_itself": "on"}
    assert kofi.post("/status/", typed).status_code == 403
    assert ada.post("/status/", typed).status_code == 302
    assert ada.post("/status/", typed).status_code == 400
    part = {"name": "Letters", "endpoint": world.endpoint.slug}
    assert ada.post("/status/inside/components/", part).status_code == 302
    assert ada.post("/status/inside/components/", part | {"is_group": "on"}).status_code == 400
    made = StatusPage.objects.get(slug="inside")
    assert (made.public, made.readers, made.components.get().endpoint) == (False, ["auditor"], world.endpoint)
    old = {"name": "Within", "version": made.version}
    assert ada.post("/status/inside/manage/", old).status_code == 302
    assert ada.post("/status/inside/manage/", old).status_code == 400
    assert ada.post(f"/status/inside/components/{made.components.get().pk}/retire/").status_code == 302
    actions = AuditEvent.objects.filter(target_kind="status_page", target_id="inside").order_by("id")
    assert list(actions.values_list("action", flat=True)) == [
        "status.create_page", "status.add_component", "status.edit_page", "status.retire_component",
    ]  # fmt: skip
