"""Snapshots: what they hold, what differs since, and that the files they name were read."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from audit.clock import database_now
from registry import actions as registry_actions
from registry import store
from registry.errors import RegistryError
from registry.models import Endpoint, Placement, Version
from registry.snapshots import actions, due, queries
from registry.snapshots.content import digest_of
from registry.snapshots.models import Reason, Snapshot
from tests.registry.test_pages import person
from tests.registry.world import (
    ALICE,
    events,
    make_endpoint,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def served(tmp_path: Path, settings: Any) -> tuple[Endpoint, Placement, Version, Version]:
    """Two versions, the first of which is live on the one host."""
    settings.LASTGOOD_VAR = tmp_path / "var"
    model = make_registered_model()
    endpoint = make_endpoint(model)
    placement = make_placement(endpoint)
    one, two = (make_version(model, tmp_path, seed=seed)[0] for seed in (1, 2))
    switched(placement, one)
    return endpoint, placement, one, two


def take(endpoint: Endpoint, reason: str = Reason.BY_HAND) -> Snapshot:
    endpoint.refresh_from_db()
    return actions.take(endpoint=endpoint, reason=reason, actor=ALICE)


def test_a_snapshot_names_what_is_live_with_its_files_and_is_on_record(
    served: tuple[Endpoint, Placement, Version, Version],
) -> None:
    endpoint, _, one, two = served

    snapshot = take(endpoint)

    content = snapshot.content
    assert content["default"] == {"number": 1, "digest": one.digest}
    assert content["hosts"]["gpu-a1"]["live"] == {"number": 1, "digest": one.digest}
    assert {file["sha256"] for file in content["versions"]["2"]["files"]} == set(
        two.files.values_list("artifact_id", flat=True)
    )
    snapshot.refresh_from_db()
    assert digest_of(snapshot.content) == snapshot.digest
    [event] = events("snapshot.take")
    assert (event["data"]["digest"], event["data"]["reason"]) == (snapshot.digest, "by_hand")


def test_what_differs_since_is_what_was_changed(served: tuple[Endpoint, Placement, Version, Version]) -> None:
    endpoint, placement, one, two = served
    before = take(endpoint)
    assert queries.against(before, None) == []

    switched(placement, two)
    registry_actions.quarantine(version=one, reason="It answers wrongly.", actor=ALICE)
    Endpoint.objects.filter(pk=endpoint.pk).update(undo_seconds=7200)
    endpoint.refresh_from_db()
    after = take(endpoint)

    changes = {change.what: (change.before, change.after) for change in queries.against(before, after)}
    assert changes["What most hosts serve"] == (
        f"version 1 ({one.digest[:12]})",
        f"version 2 ({two.digest[:12]})",
    )
    assert changes["Setting undo seconds"] == ("3600", "7200")
    assert changes["Version 1"][1].endswith("quarantined")
    assert "Host gpu-a1" in changes
    assert queries.version_to_restore(before) == one


def test_the_files_are_read_once_and_those_that_are_not_whole_are_named(
    served: tuple[Endpoint, Placement, Version, Version],
) -> None:
    endpoint, _, one, two = served
    gone = two.files.get(component="weights").artifact_id
    store.path(gone).unlink()
    bad = one.files.get(component="weights").artifact_id
    store.path(bad).write_bytes(b"something else")
    snapshot = take(endpoint)
    assert due.unverified(database_now()) == [snapshot.pk]

    assert actions.verify(snapshot_id=snapshot.pk)
    assert actions.verify(snapshot_id=snapshot.pk) is None

    snapshot.refresh_from_db()
    assert (snapshot.files[gone], snapshot.files[bad]) == ("missing", "damaged")
    assert snapshot.damage == sorted([gone, bad])
    assert due.unverified(database_now()) == []
    [event] = events("snapshot.verify")
    assert (event["outcome"], event["data"]["lacking"]) == ("failed", sorted([gone, bad]))


def test_only_files_by_which_it_could_be_put_back_are_read(
    served: tuple[Endpoint, Placement, Version, Version],
) -> None:
    endpoint, _, one, two = served
    snapshot = take(endpoint)

    actions.verify(snapshot_id=snapshot.pk)

    snapshot.refresh_from_db()
    states = [snapshot.files[version.files.get(component="weights").artifact_id] for version in (one, two)]
    assert (states, snapshot.damage) == (["whole", "there"], [])
    assert snapshot.read == len(snapshot.files) - 1


def test_one_is_due_where_none_was_taken_for_a_day(
    served: tuple[Endpoint, Placement, Version, Version], settings: Any
) -> None:
    endpoint = served[0]
    assert due.endpoints(database_now()) == [endpoint.pk]

    assert actions.take_scheduled(endpoint_id=endpoint.pk)
    assert actions.take_scheduled(endpoint_id=endpoint.pk) is None
    assert due.endpoints(database_now()) == []

    Snapshot.objects.update(taken_at=timezone.now() - datetime.timedelta(hours=25))
    assert due.endpoints(database_now()) == [endpoint.pk]
    settings.LASTGOOD_SNAPSHOT_HOURS = 0
    assert due.endpoints(database_now()) == []


def test_a_snapshot_is_kept_with_a_reason_once(served: tuple[Endpoint, Placement, Version, Version]) -> None:
    snapshot = take(served[0])

    actions.keep(snapshot=snapshot, reason="For the audit.", actor=ALICE)
    with pytest.raises(RegistryError, match="kept already"):
        actions.keep(snapshot=snapshot, reason="Again.", actor=ALICE)
    actions.keep(snapshot=snapshot, reason="", actor=ALICE)

    snapshot.refresh_from_db()
    assert snapshot.kept_reason == ""
    assert [event["data"]["kept"] for event in events("snapshot.keep")] == [True, False]


def test_the_pages_show_what_differs_and_lead_to_a_plan(
    served: tuple[Endpoint, Placement, Version, Version], client: Client
) -> None:
    endpoint, placement, one, two = served
    client.force_login(person("commander", "responder"))
    path = f"/endpoints/{endpoint.slug}/snapshots/"

    shown = client.post(path, follow=True).content.decode()
    assert "Nothing." in shown
    switched(placement, two)
    snapshot = Snapshot.objects.get()
    later = client.get(f"/snapshots/{snapshot.pk}/").content.decode()

    assert "What most hosts serve" in later
    assert "by hand, by Mara Lindqvist" in later
    assert f"/rollback/propose/?kind=rollback&amp;endpoint={endpoint.slug}&amp;to_version={one.pk}" in later
    assert f'href="/snapshots/{snapshot.pk}/"' in client.get(path).content.decode()
    assert client.post(f"/snapshots/{snapshot.pk}/keep/", {"reason": "Evidence."}).status_code == 302
    snapshot.refresh_from_db()
    assert snapshot.kept_reason == "Evidence."
    assert client.get(f"/snapshots/{snapshot.pk}/?with=99").status_code == 404


def test_who_only_looks_takes_none(served: tuple[Endpoint, Placement, Version, Version], client: Client) -> None:
    client.force_login(person("viewer"))

    assert client.post(f"/endpoints/{served[0].slug}/snapshots/").status_code == 403
    assert not Snapshot.objects.exists()


def test_the_api_takes_one_and_says_what_differs(
    served: tuple[Endpoint, Placement, Version, Version], client: Client
) -> None:
    endpoint, placement, _, two = served
    client.force_login(person("commander"))

    made = client.post("/api/v1/snapshots/", {"endpoint": endpoint.slug}, content_type="application/json")
    switched(placement, two)
    told = client.get(f"/api/v1/snapshots/{made.json()['id']}/differences/")

    assert made.status_code == 201
    assert "What most hosts serve" in [row["what"] for row in told.json()]
    listed = client.get(f"/api/v1/snapshots/?endpoint__slug={endpoint.slug}").json()["results"]
    assert [row["digest"] for row in listed] == [made.json()["digest"]]
