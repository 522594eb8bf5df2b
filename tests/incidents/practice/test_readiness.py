"""Could we roll back now? The answer of every endpoint in production, and what it rests on."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApprovalPolicy
from audit.actions import service_actor
from incidents.practice import readiness
from incidents.practice.models import Drill, DrillState
from incidents.practice.readiness import NOT_READY, READY, UNTESTED, Readiness
from incidents.rollback.models import Plan, Run
from registry.actions import freeze, register_endpoint
from registry.models import Alias, Deployment, Endpoint, Health, Host, Placement, Version
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")
SETUP = service_actor("test")


@pytest.fixture
def serving(world: World) -> World:
    """Version 2 is served on three hosts that were seen well, with version 1 warm beside it; version 1 is last-good."""
    versions = {
        str(one.number): {"digest": one.digest, "state": "ready", "bytes": 10} for one in (world.good, world.bad)
    }
    for host in Host.objects.filter(name__in=["h1", "h2", "h3"]):
        Placement.objects.update_or_create(
            endpoint=world.endpoint,
            host=host,
            defaults={
                "desired": world.bad,
                "observed_digest": world.bad.digest,
                "observed_at": timezone.now(),
                "health": Health.SERVING,
                "observation": {"versions": versions, "memory_total": 1000, "memory_free": 500},
            },
        )
        Deployment.objects.get_or_create(
            endpoint=world.endpoint,
            host=host,
            until=None,
            defaults={"version": world.bad, "since": timezone.now(), "cause": "release"},
        )
    Alias.objects.update_or_create(model=world.endpoint.model, name=Alias.LAST_GOOD, defaults={"version": world.good})
    from registry.actions.known import stored_artifact

    Version.objects.filter(pk=world.good.pk).update(golden=stored_artifact(b"{}", "application/json"))
    ApprovalPolicy.objects.filter(subject_kind="rollback").update(
        factors=[{"role": "commander", "count": 1}], required=1
    )
    return world


def of(world: World) -> Readiness:
    return readiness.readiness(Endpoint.objects.select_related("model").get(pk=world.endpoint.pk))


def drilled(world: World, *, days_ago: float) -> Drill:
    """A drill of the good version, on an endpoint in staging."""
    staging = register_endpoint(
        slug="staging", name="Staging", model=world.endpoint.model, environment="staging", actor=SETUP
    )
    plan = Plan.objects.create(
        kind="drill", endpoint=staging, to_version=world.good, document=b"{}", plan_hash="d" * 64,
        expires_at=timezone.now(),
    )  # fmt: skip
    return Drill.objects.create(
        endpoint=staging, version=world.good, plan=plan, asked_by=world.users["rosa"], state=DrillState.PASSED,
        checked_seconds=40.0, ended_at=timezone.now() - timedelta(days=days_ago),
    )  # fmt: skip


def test_a_fresh_drill_makes_it_ready_and_an_old_one_does_not(serving: World, settings: Any) -> None:
    assert of(serving).state == UNTESTED
    assert of(serving).sentence == "Not tested. It was never drilled."

    drill = drilled(serving, days_ago=2)
    found = of(serving)
    assert (found.state, found.live, found.version, found.warm) == (READY, serving.bad, serving.good, True)
    assert found.sentence == f"Ready: drilled on {drill.ended_at:%Y-%m-%d} at staging."

    settings.LASTGOOD_DRILL_FRESH_DAYS = 1
    assert of(serving).state == UNTESTED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: Placement.objects.update(health=Health.UNREACHABLE), "h1, h2, h3 can't be reached"),
        (lambda w: Version.objects.filter(pk=w.good.pk).update(golden=None), "has no golden test"),
        (lambda w: Alias.objects.update(version=w.bad), "there is nothing to go back to"),
        (lambda w: ApprovalPolicy.objects.filter(subject_kind="rollback").update(active=False), "No approval policy"),
        (lambda w: ApprovalPolicy.objects.filter(subject_kind="rollback").update(required=5), "who are not there"),
        (lambda w: w.run(w.incident()), "A rollback of"),
        (
            lambda w: freeze(
                endpoint=w.endpoint, until=timezone.now() + timedelta(hours=1), reason="Elections.", actor=SETUP
            ),
            "is frozen until",
        ),
    ],
    ids=["away", "golden", "no-target", "no-policy", "no-people", "busy", "frozen"],
)
def test_what_stands_in_the_way_is_said(serving: World, change: Any, said: str) -> None:
    drilled(serving, days_ago=1)
    assert of(serving).state == READY

    change(serving)

    assert of(serving).state == NOT_READY
    assert said in of(serving).sentence


def test_a_file_that_is_gone_is_found(serving: World, tmp_path: Any, settings: Any) -> None:
    settings.LASTGOOD_VAR = tmp_path / "empty"

    assert "The artifact store lacks" in of(serving).sentence


def test_a_quarantined_last_good_is_no_target(serving: World) -> None:
    Version.objects.filter(pk=serving.good.pk).update(quarantined_at=timezone.now(), quarantine_reason="It was wrong.")

    assert of(serving).sentence == "What it could go back to is quarantined."


def test_memory_that_holds_one_version_is_a_note(serving: World) -> None:
    from registry.actions.known import stored_artifact

    artifact = stored_artifact(b"x" * 400, "application/octet-stream")
    serving.good.files.create(component="weights", path="weights.safetensors", artifact=artifact)
    for row in Placement.objects.all():
        row.observation = {"versions": {}, "memory_total": 1000, "memory_free": 100}
        row.save(update_fields=["observation"])

    found = of(serving)

    assert found.state == UNTESTED
    assert found.notes == [
        "The memory of h1, h2, h3 holds one version at a time: each is out of service while it changes."
    ]


def test_the_board_asks_as_often_for_many_endpoints_as_for_one(serving: World, django_assert_num_queries: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as one:
        assert len(readiness.board()) == 1
    for number in range(3):
        register_endpoint(slug=f"more-{number}", name="More", model=serving.endpoint.model, actor=SETUP)

    with django_assert_num_queries(len(one)):
        rows = readiness.board()

    assert [row.state for row in rows] == [NOT_READY] * 3 + [UNTESTED]


def test_pages_and_api_tell_the_same(serving: World) -> None:
    drilled(serving, days_ago=2)
    client, slug = serving.client("rosa"), serving.endpoint.slug

    board = client.get("/readiness/")
    page = client.get(f"/readiness/{slug}/")
    listed = client.get("/api/v1/readiness/").json()

    assert "Every endpoint could be rolled back now." in board.content.decode()
    assert "Ready: drilled on" in page.content.decode()
    assert "Propose the drill" in page.content.decode()
    assert "Propose the drill" not in serving.client("vera").get(f"/readiness/{slug}/").content.decode()
    assert [(row["endpoint"], row["state"], row["target"]) for row in listed] == [(slug, "ready", 1)]
    assert client.get(f"/api/v1/readiness/{slug}/").json() == listed[0]
    drills = client.get("/api/v1/drills/").json()["results"]
    assert [(row["endpoint"], row["state"], row["checked_seconds"]) for row in drills] == [("staging", "passed", 40.0)]
    assert client.get("/readiness/staging/").status_code == 404
    assert not Run.objects.exists()


def test_a_schedule_is_set_by_page_and_by_api(serving: World) -> None:
    drilled(serving, days_ago=2)
    client, slug = serving.client("rosa"), serving.endpoint.slug
    form = {"staging": "staging", "every_days": 7, "from_hour": 8, "to_hour": 16, "active": "on"}

    assert client.post(f"/readiness/{slug}/schedule/", form).status_code == 302
    bad = client.post(f"/readiness/{slug}/schedule/", form | {"from_hour": 20, "to_hour": 3})

    assert bad.status_code == 400
    assert "Say from which hour to which later one" in bad.content.decode()
    rows = client.get("/api/v1/drill-schedules/").json()["results"]
    assert [(row["endpoint"], row["every_days"], row["set_by"]) for row in rows] == [("staging", 7, "rosa")]
    asked = client.post("/api/v1/drills/", {"endpoint": slug, "version": 1}, content_type="application/json")
    assert (asked.status_code, asked.json()["type"].rsplit("/", 1)[-1]) == (409, "drill-in-production")


def test_what_was_done_by_hand_is_recorded_by_page_and_by_api(serving: World) -> None:
    slug, client = serving.endpoint.slug, serving.client("kofi")
    incident = serving.incident()
    Placement.objects.filter(host__name__in=["h1", "h2"]).update(observed_digest=serving.good.digest)
    page = client.get(f"/readiness/{slug}/").content.decode()
    assert "h1, which serves version 1" in page
    at = (timezone.now() - timedelta(minutes=9)).strftime("%Y-%m-%d %H:%M")
    form = {
        "placement": Placement.objects.get(host__name="h1").pk, "incident": incident.ref, "at": at, "told": "By phone.",
    }  # fmt: skip
    wish = {"endpoint": slug, "host": "h2", "incident": incident.ref, "at": f"{at}Z", "told": "By phone."}

    assert serving.client("rosa").post(f"/readiness/{slug}/by-hand/", form).status_code == 403
    assert client.post(f"/readiness/{slug}/by-hand/", form).status_code == 302
    answer = client.post("/api/v1/by-hand/", wish, content_type="application/json")
    again = client.post("/api/v1/by-hand/", wish, content_type="application/json")

    assert (answer.status_code, answer.json()) == (201, {"version": 1})
    assert (again.status_code, again.json()["type"].rsplit("/", 1)[-1]) == (409, "not-drifted")
    assert set(Placement.objects.filter(desired=serving.good).values_list("host__name", flat=True)) == {"h1", "h2"}
    assert "Changed by other hands" not in client.get(f"/readiness/{slug}/").content.decode()


def test_a_fresh_drill_is_told_beside_the_target_on_the_incident(serving: World) -> None:
    incident = serving.incident()
    serving.candidate(incident)
    words = "Ready, about 40 s: drilled on"
    for drill_is_there in (False, True):
        if drill_is_there:
            drilled(serving, days_ago=2)
        assert (words in serving.client("rosa").get(f"/incidents/{incident.ref}/").content.decode()) == drill_is_there
