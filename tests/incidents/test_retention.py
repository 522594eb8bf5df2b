"""The rule of retention: what nothing needs goes, and whatever the state, nothing that is needed does."""

import datetime
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from audit import holds
from audit.clock import database_now
from incidents.models import Incident, IncidentState
from incidents.rollback.models import Plan, PlanState, Run, RunState, Trial, TrialPurpose
from registry import actions as registry_actions
from registry import store
from registry.models import Artifact, Deployment, Endpoint, Placement, Version
from registry.snapshots import actions, retention
from registry.snapshots.models import Reason, Snapshot, Sweep
from registry.snapshots.preview import preview
from tests.accounts.people import person
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
LONG_AGO = timezone.now() - datetime.timedelta(days=400)


@dataclass
class Town:
    """Four old versions, of which nothing is needed but the newest; an endpoint with a host that serves nothing."""

    endpoint: Endpoint
    placement: Placement
    versions: list[Version]

    def files(self, *versions: Version) -> set[str]:
        found = {sha256 for version in versions for sha256 in version.files.values_list("artifact_id", flat=True)}
        return found | {version.golden_id for version in versions}

    def lacking(self) -> set[str]:
        return store.lacking(self.files(*self.versions))


@pytest.fixture
def town(tmp_path: Path, settings: Any) -> Town:
    settings.LASTGOOD_VAR = tmp_path / "var"
    settings.LASTGOOD_ARTIFACTS_DAYS, settings.LASTGOOD_ARTIFACTS_VERSIONS = 30, 1
    settings.LASTGOOD_SNAPSHOTS_DAYS, settings.LASTGOOD_SNAPSHOTS_COUNT = 30, 1
    model = make_registered_model()
    endpoint = make_endpoint(model)
    placement = make_placement(endpoint)
    versions = [make_version(model, tmp_path, seed=seed)[0] for seed in range(1, 5)]
    Version.objects.update(created_at=LONG_AGO)
    age()
    return Town(endpoint, placement, versions)


def age() -> None:
    """All files have lain in the store for long."""
    for sha256, _, _ in store.place().names():
        os.utime(store.path(sha256), (1, LONG_AGO.timestamp()))


def make_plan(town: Town, version: Version, state: str) -> Plan:
    return Plan.objects.create(
        kind="rollback", endpoint=town.endpoint, to_version=version, document=b"{}", plan_hash=uuid.uuid4().hex * 2,
        state=state, expires_at=timezone.now(),
    )  # fmt: skip


def run_to(town: Town, version: Version, **fields: Any) -> None:
    Run.objects.create(plan=make_plan(town, version, PlanState.STARTED), endpoint=town.endpoint, fence=1, **fields)


def open_incident(town: Town, version: Version) -> None:
    make_incident(town, IncidentState.MONITORING)


def held_incident(town: Town, version: Version) -> None:
    incident = make_incident(town, IncidentState.CLOSED)
    holds.place(kind="incident", ref=incident.ref, reason="A court asks.", actor=ALICE)


def make_incident(town: Town, state: str) -> Incident:
    return Incident.objects.create(
        number=7, ref="INC-7", title="Wrong", state=state, severity=2, endpoint=town.endpoint, group_key="k",
        detected_at=LONG_AGO,
    )  # fmt: skip


def lately_live(town: Town, version: Version) -> None:
    since, until = LONG_AGO, timezone.now() - datetime.timedelta(days=29)
    Deployment.objects.create(
        endpoint=town.endpoint, host=town.placement.host, version=version, since=since, until=until, cause="release"
    )


def snapshot_of(town: Town, version: Version) -> None:
    """An old one that somebody keeps, of a time when the version was wanted."""
    Placement.objects.filter(pk=town.placement.pk).update(desired=version)
    taken = actions.take(endpoint=town.endpoint, reason=Reason.BY_HAND, actor=ALICE)
    actions.keep(snapshot=taken, reason="Evidence.", actor=ALICE)
    Snapshot.objects.filter(pk=taken.pk).update(taken_at=LONG_AGO)
    Placement.objects.filter(pk=town.placement.pk).update(desired=town.placement.desired_id)


Fact = Callable[[Town, Version], object]
OF_A_VERSION: dict[str, Fact] = {
    "last-good": lambda town, v: registry_actions.move_alias(model=v.model, name="last-good", version=v, actor=ALICE),
    "champion": lambda town, v: registry_actions.move_alias(model=v.model, name="champion", version=v, actor=ALICE),
    "desired": lambda town, v: Placement.objects.filter(pk=town.placement.pk).update(desired=v),
    "observed": lambda town, v: Placement.objects.filter(pk=town.placement.pk).update(observed_digest=v.digest),
    "live": lambda town, v: switched(town.placement, v),
    "lately live": lately_live,
    "fallback": lambda town, v: Endpoint.objects.filter(pk=town.endpoint.pk).update(fallback=v),
    "open plan": lambda town, v: make_plan(town, v, PlanState.AWAITING),
    "run": lambda town, v: run_to(town, v, state=RunState.HALTED),
    "undo window": lambda town, v: run_to(town, v, state=RunState.SWITCHED, undo_due_at=timezone.now()),
    "kept snapshot": snapshot_of,
    "young": lambda town, v: Version.objects.filter(pk=v.pk).update(created_at=timezone.now()),
}
OF_THE_MODEL: dict[str, Fact] = {
    "open incident": open_incident,
    "held incident": held_incident,
    "held model": lambda town, v: holds.place(kind="model", ref="toy", reason="A court asks.", actor=ALICE),
    "trial": lambda town, v: Trial.objects.create(
        endpoint=town.endpoint, purpose=TrialPurpose.RANKING, asked_by="u-alice"
    ),
}

FACTS = st.tuples(st.sampled_from(sorted(OF_A_VERSION)), st.integers(0, 3))


def test_files_of_versions_that_nothing_needs_go_on_record_and_the_newest_stays(town: Town) -> None:
    removed = town.files(*town.versions[:3]) - town.files(town.versions[3])

    assert retention.sweep()[1] == len(removed)

    assert town.lacking() == removed
    assert {event["target"]["id"] for event in events("artifact.remove")} == removed
    assert Artifact.objects.filter(pk__in=removed).count() == len(removed)


def test_a_dry_run_names_what_would_go_and_removes_nothing(town: Town) -> None:
    said = StringIO()
    call_command("sweep_artifacts", "--dry-run", stdout=said)

    weights = town.versions[0].files.get(component="weights").artifact_id
    assert f"{weights}  " in said.getvalue()
    assert "of toy 1" in said.getvalue()
    assert town.lacking() == set()
    assert events("artifact.remove") == []


def test_the_preview_says_what_would_go_and_why_the_rest_stays(town: Town) -> None:
    registry_actions.move_alias(model=town.endpoint.model, name="champion", version=town.versions[1], actor=ALICE)
    goes = town.files(town.versions[0], town.versions[2]) - town.files(town.versions[1], town.versions[3])

    seen = preview()

    assert {one.sha256 for one in seen.shown} == goes
    assert seen.going.files == len(goes)
    assert seen.needed.files == len(town.files(town.versions[1], town.versions[3]))
    assert [(one.version.number, one.why) for one in seen.stays] == [
        (4, "it is one of the newest 1 of its model"),
        (2, "it is champion of toy"),
    ]
    assert town.lacking() == set()


def test_another_rule_is_asked_about_and_changes_nothing(town: Town, settings: Any) -> None:
    everything = town.files(*town.versions)

    longer = preview(1000)
    assert (longer.going.files, longer.needed.files) == (0, len(everything))
    assert [one.why for one in longer.stays] == [
        "it is one of the newest 1 of its model",
        *["it is younger than 1000 days"] * 3,
    ]
    assert (preview(0).going.files, settings.LASTGOOD_ARTIFACTS_DAYS > 0) == (0, True)
    settings.LASTGOOD_ARTIFACTS_DAYS = 0
    assert {one.sha256 for one in preview(30).shown} == everything - town.files(town.versions[3])


def test_the_page_shows_the_preview_and_what_was_removed(town: Town, client: Client) -> None:
    client.force_login(person("ada", "viewer"), backend="django.contrib.auth.backends.ModelBackend")
    Sweep.objects.create(day="2026-01-02", due_at=timezone.now(), ended_at=timezone.now(), files=7, bytes=3 * 2**20)

    page = client.get(reverse("retention"))

    text = page.content.decode()
    weights = town.versions[0].files.get(component="weights").artifact_id
    assert page.status_code == 200
    assert weights[:12] in text
    assert "it is one of the newest 1 of its model" in text
    assert "2026-01-02" in text
    later = client.get(reverse("retention"), {"days": "1000"}).content.decode()
    assert "The next sweep would remove nothing" in later
    assert weights[:12] not in later
    assert client.get(reverse("retention"), {"days": "x"}).status_code == 200


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    facts=st.lists(
        st.tuples(st.sampled_from(sorted(OF_A_VERSION)), st.integers(0, 3)), max_size=4, unique_by=lambda f: f[0]
    ),
    whole=st.sampled_from(["", "", "", *sorted(OF_THE_MODEL)]),
)
def test_whatever_the_state_nothing_needed_is_removed(town: Town, facts: list[tuple[str, int]], whole: str) -> None:
    held = {sha256: store.path(sha256).read_bytes() for sha256 in town.files(*town.versions)}
    town.placement.refresh_from_db()  # an example before may have changed it, and was rolled back
    try:
        with transaction.atomic():
            # A switch says what should serve as well, and would take the place of what was wanted before it.
            for name, index in sorted(facts, key=lambda fact: (fact[0] != "kept snapshot", fact[0] != "live")):
                OF_A_VERSION[name](town, town.versions[index])
            if whole:
                OF_THE_MODEL[whole](town, town.versions[0])
            needed = town.versions if whole else [town.versions[3], *(town.versions[index] for _, index in facts)]

            retention.sweep()

            assert town.lacking() == set(held) - town.files(*needed)
            transaction.set_rollback(True)
    finally:
        for data in held.values():
            store.put_bytes(data)
        age()


def test_a_file_that_came_lately_stays_though_nothing_names_it(town: Town) -> None:
    sha256 = store.put_bytes(b"uploaded just now, to be registered")

    retention.sweep()
    assert store.holds(sha256)

    age()
    retention.sweep()
    assert not store.holds(sha256)


def test_without_the_rule_nothing_goes(town: Town, settings: Any) -> None:
    settings.LASTGOOD_ARTIFACTS_DAYS = settings.LASTGOOD_SNAPSHOTS_DAYS = 0

    assert retention.sweep() == (0, 0, 0)
    assert retention.due_sweeps(database_now()) == []


def test_old_snapshots_go_but_the_newest_and_the_kept(town: Town) -> None:
    taken = [actions.take(endpoint=town.endpoint, reason=Reason.SCHEDULED, actor=ALICE) for _ in range(4)]
    actions.keep(snapshot=taken[1], reason="Evidence.", actor=ALICE)
    Snapshot.objects.update(taken_at=LONG_AGO)

    assert retention.sweep()[0] == 2

    assert set(Snapshot.objects.all()) == {taken[1], taken[3]}
    assert [event["target"]["id"] for event in events("snapshot.remove")] == [str(taken[0].pk), str(taken[2].pk)]


def test_a_days_sweep_is_made_once_and_taken_up_where_it_was_left(town: Town) -> None:
    now = database_now()
    [day] = retention.due_sweeps(now)

    retention.sweep_of(day)
    retention.sweep_of(day)

    made = Sweep.objects.get()
    assert made.files == len(town.lacking()) > 0
    assert retention.due_sweeps(now) == []
    Sweep.objects.update(ended_at=None, due_at=LONG_AGO)
    assert retention.due_sweeps(now) == [day]
