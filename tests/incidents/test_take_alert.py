import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from audit.canonical import canonical_bytes
from audit.models import AuditEvent
from audit.queries import timeline
from incidents import intake
from incidents.models import Evidence, Incident, IncidentAlert, IncidentState
from monitoring.models import Alert, Answer, Finding, Rule, Window
from registry.models import Host
from tests.incidents import world as worlds
from tests.incidents.world import World, events


def test_an_alert_opens_one_incident_with_a_title_that_can_be_read_out(world: World) -> None:
    incident = intake.take_alert(alert_id=world.alert().pk)
    assert incident is not None
    assert incident.ref == "INC-1"
    assert incident.state == IncidentState.DETECTED
    assert incident.severity == 2
    assert incident.from_version == "2"
    assert incident.title.startswith("Employment on employment-production: version 2 is right ")
    assert incident.title.endswith(" points less often than before")
    assert [event.outcome for event in events(incident, "incident.open")] == ["success"]


def test_the_same_alert_taken_fifty_times_opens_one_incident(world: World) -> None:
    alert = world.alert()
    refs = {intake.take_alert(alert_id=alert.pk).ref for _ in range(50)}
    assert refs == {"INC-1"}
    assert Incident.objects.count() == 1
    assert AuditEvent.objects.filter(action="incident.open").count() == 1


def test_alerts_of_one_cause_taken_at_the_same_time_open_one_incident(
    committed_db: Any, settings: Any, tmp_path: Path
) -> None:
    # given eight alerts of eight rules, all about version 2 of one endpoint
    settings.LASTGOOD_VAR = tmp_path
    world = worlds.build()
    alerts = [world.alert(fingerprint=f"{at:064x}").pk for at in range(8)]

    def take(pk: int) -> str:
        try:
            return intake.take_alert(alert_id=pk).ref
        finally:
            connections.close_all()

    # when eight workers take them, each alert twice
    with ThreadPoolExecutor(8) as pool:
        refs = set(pool.map(take, [*alerts, *alerts]))
    # then there is one incident, and every alert is in it once
    assert refs == {"INC-1"}
    assert Incident.objects.count() == 1
    assert IncidentAlert.objects.count() == 8


def test_an_alert_of_the_same_version_joins_the_open_incident_and_raises_its_severity(world: World) -> None:
    incident = world.incident()
    joined = world.incident(severity=1, fingerprint="b" * 64)
    assert joined.pk == incident.pk
    incident.refresh_from_db()
    assert incident.severity == 1
    assert incident.incident_alerts.count() == 2
    assert len(events(incident, "incident.join_alert")) == 1


def test_a_joining_alert_that_is_no_worse_leaves_the_incident_as_it_was_read(world: World) -> None:
    incident = world.incident()
    world.incident(severity=3, fingerprint="b" * 64)
    after = Incident.objects.get(pk=incident.pk)
    assert (after.severity, after.version) == (2, incident.version)


def test_an_alert_of_another_version_opens_an_incident_of_its_own(world: World) -> None:
    world.incident()
    other = world.incident(version="1", fingerprint="b" * 64)
    assert other.ref == "INC-2"


def test_a_resolved_incident_takes_no_new_alert(world: World) -> None:
    first = world.incident()
    Incident.objects.filter(pk=first.pk).update(state=IncidentState.RESOLVED)
    assert world.incident(fingerprint="b" * 64).ref == "INC-2"


def test_an_alert_that_is_over_before_it_is_taken_opens_nothing(world: World) -> None:
    alert = world.alert(state="resolved")
    assert intake.take_alert(alert_id=alert.pk) is None
    assert not Incident.objects.exists()


def test_the_evidence_says_how_much_worse_where_for_how_many_and_for_whom(world: World) -> None:
    incident = world.incident()
    found = {piece.kind: piece for piece in incident.evidence.all()}
    now, before = found["accuracy"].data["now"], found["accuracy"].data["before"]
    assert (now["n"], before["n"]) == (1800, 1800)
    assert 0.50 < float(now["share"]) < 0.60
    assert 0.76 < float(before["share"]) < 0.84
    assert found["accuracy"].data["promised"] == "0.800000"
    assert set(found["hosts"].data["hosts"]) == {"h1", "h2", "h3"}
    assert found["impact"].data["answered"] == 1800
    assert found["impact"].data["wrong_beyond_usual"] == round((float(before["share"]) - float(now["share"])) * 1800)
    assert "persons were answered" in found["impact"].claim
    assert found["groups"].data["groups"][0]["feature"] in ("DIS", "AGEP")
    assert float(found["latency"].data["before_per_second"]) > 0


def test_the_evidence_is_frozen_with_the_digest_of_its_canonical_bytes_on_record(world: World) -> None:
    incident = world.incident()
    recorded = {event.pk: event for event in events(incident, "incident.evidence.freeze")}
    pieces = list(incident.evidence.all())
    assert len(recorded) == len(pieces) > 3
    for piece in Evidence.objects.filter(incident=incident):
        assert piece.sha256 == hashlib.sha256(canonical_bytes(piece.data)).hexdigest()
        assert any(piece.sha256.encode() in bytes(event.canon) for event in recorded.values())


def test_an_alert_from_outside_is_grouped_by_its_labels(world: World) -> None:
    labels = {"alertname": "HighLatency", "model": "scorer", "instance": "a"}
    outside = {"endpoint": None, "rule": None, "version": "", "source": "alertmanager", "summary": "Scorer is slow."}
    first = world.incident(labels=labels, **outside)
    second = world.incident(labels=labels | {"instance": "b"}, fingerprint="b" * 64, **outside)
    third = world.incident(labels=labels | {"model": "ranker"}, fingerprint="c" * 64, **outside)
    assert first.title == "Scorer is slow."
    assert second.pk == first.pk
    assert third.pk != first.pk


def test_an_incident_hears_that_its_alert_no_longer_fires(world: World) -> None:
    incident = world.incident()
    alert = Alert.objects.get()
    intake.alert_resolved(alert_id=alert.pk)
    assert events(incident, "incident.alert_resolved") == []
    Alert.objects.update(state="resolved", ended_at=timezone.now())
    for _ in range(3):
        intake.alert_resolved(alert_id=alert.pk)
    assert len(events(incident, "incident.alert_resolved")) == 1


def test_what_an_outside_sender_wrote_is_on_the_timeline_and_in_no_leaf(world: World) -> None:
    secret = "Maria Example's file is scored wrongly"
    outside = {"source": "alertmanager", "rule": None, "endpoint": None, "version": "", "labels": {"alertname": "x"}}
    incident = world.incident(summary=secret, **outside)
    world.incident(summary=f"Again: {secret}", fingerprint="b" * 64, **outside)
    Alert.objects.update(state="resolved", ended_at=timezone.now())
    for alert in Alert.objects.all():
        intake.alert_resolved(alert_id=alert.pk)

    assert incident.title == secret
    told = timeline(incident.ref)
    assert {entry.action for entry in told} >= {
        "incident.open", "incident.join_alert", "incident.evidence.freeze", "incident.alert_resolved"
    }  # fmt: skip
    assert all(secret in entry.reason for entry in told)
    assert not [event for event in AuditEvent.objects.all() if b"Maria" in bytes(event.canon)]


def test_opening_an_incident_orders_the_ranking_of_its_targets(
    world: World, django_capture_on_commit_callbacks: Any
) -> None:
    alert = world.alert()
    with django_capture_on_commit_callbacks() as sent:
        intake.take_alert(alert_id=alert.pk)
    tasks = [callback.args[0] for callback in sent]
    assert "incidents.rank_candidates" in tasks


def test_the_clock_finds_an_alert_whose_message_was_lost(world: World) -> None:
    from incidents import due

    late = world.alert(fired_at=timezone.now() - timedelta(minutes=1))
    taken = world.alert(fingerprint="b" * 64, fired_at=timezone.now() - timedelta(minutes=1))
    intake.take_alert(alert_id=taken.pk)
    assert due.untaken_alerts(timezone.now()) == [late.pk]


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_second_open_incident_of_one_cause_is_refused_by_the_database(world: World, version: str) -> None:
    from django.db import IntegrityError, transaction

    incident = world.incident(version=version)
    with pytest.raises(IntegrityError), transaction.atomic():
        Incident.objects.create(
            number=99, ref="INC-99", title="x", severity=2, group_key=incident.group_key, detected_at=timezone.now()
        )
    assert Incident.objects.count() == 1
    assert connection.is_usable()


def test_alerts_that_come_together_are_taken_by_the_incidents_of_their_causes(world: World) -> None:
    # given three alerts of one cause, one of another, and one that nobody is to be told of
    alerts = [world.alert(fingerprint=f"{at:064x}", severity=3 - at % 2) for at in range(3)]
    other = world.alert(fingerprint="d" * 64, version="3")
    quiet = world.alert(fingerprint="e" * 64, version="4")
    Alert.objects.filter(pk=quiet.pk).update(suppressed_by="silence:1")

    # when one message tells of them, and comes twice
    for _ in range(2):
        intake.take_alerts([alert.pk for alert in (*alerts, other, quiet)])

    # then each cause has one incident, whose record tells of every alert once and without a gap
    first, second = Incident.objects.order_by("number")
    assert sorted(first.incident_alerts.values_list("alert_id", flat=True)) == [alert.pk for alert in alerts]
    assert list(second.incident_alerts.values_list("alert_id", flat=True)) == [other.pk]
    assert first.severity == 2
    told = [*events(first, "incident.open"), *events(first, "incident.join_alert")]
    assert sorted(json.loads(bytes(event.canon))["data"]["alert"] for event in told) == [alert.pk for alert in alerts]
    numbers = AuditEvent.objects.filter(incident=first.ref).order_by("incident_seq")
    assert list(numbers.values_list("incident_seq", flat=True)) == list(range(1, len(numbers) + 1))


def test_an_alert_that_cannot_be_taken_keeps_no_other_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, well = world.alert(fingerprint="a" * 64), world.alert(fingerprint="b" * 64, version="3")
    opened = intake._open

    def fails(alert: Alert, *rest: Any) -> Incident:
        if alert.pk == broken.pk:
            raise RuntimeError("the evidence is away")
        return opened(alert, *rest)

    monkeypatch.setattr(intake, "_open", fails)
    with pytest.raises(RuntimeError, match="the evidence is away"):
        intake.take_alerts([broken.pk, well.pk])
    assert list(IncidentAlert.objects.values_list("alert_id", flat=True)) == [well.pk]


def found_in_breach(world: World, kind: str, **fields: Any) -> Finding:
    """A finding of a detector in the minute in which the version began to be wrong."""
    rule, _ = Rule.objects.get_or_create(endpoint=world.endpoint, kind=kind)
    window, _ = Window.objects.get_or_create(
        endpoint=world.endpoint,
        start=world.began,
        defaults={"end": world.began + timedelta(minutes=1), "due_at": world.began},
    )
    values = {"answer": Answer.BREACH, "value": 0.91, "limit": 0.6, "rows": 300, "sentence": f"{kind} is in breach."}
    return Finding.objects.create(rule=rule, window=window, version="2", **(values | fields))


def test_what_every_detector_found_is_frozen_with_its_value_limit_and_window(world: World) -> None:
    columns = [
        {"column": "DIS", "psi": 0.4, "importance": 0.25},
        {"column": "AGEP", "psi": 0.01, "importance": 1.0},
    ]
    found_in_breach(world, "input_drift", value=0.4, limit=0.2, data={"drifted": ["DIS"], "columns": columns})
    found_in_breach(world, "output_drift", value=None)
    joint = found_in_breach(world, "joint_drift", data={"telling": [{"column": "DIS", "share": 0.75}]})
    found_in_breach(world, "concept_drift", value=0.45, limit=0.25)
    found_in_breach(world, "accuracy", value=0.55, limit=0.78)
    found_in_breach(world, "latency", value=2.5, limit=1.5, answer=Answer.OK)
    host = Host.objects.get(name="h2")
    found_in_breach(world, "latency", value=3.25, limit=1.5, host=host)

    incident = world.incident()

    found = {piece.kind: piece for piece in incident.evidence.all()}
    assert found["joint-drift"].claim == "joint_drift is in breach."
    assert found["joint-drift"].data == {
        "finding": joint.pk, "rule": "joint_drift", "version": "2", "host": "", "window_id": joint.window_id,
        "window": world.began.isoformat(), "until": (world.began + timedelta(minutes=1)).isoformat(), "rows": 300,
        "value": "0.910000", "limit": "0.600000", "telling": [{"column": "DIS", "share": "0.750000"}],
    }  # fmt: skip
    assert found["drift"].data["columns"] == [{"column": "DIS", "psi": "0.400000", "importance": "0.250000"}]
    assert (found["output-drift"].data["value"], found["concept-drift"].data["limit"]) == ("", "0.250000")
    assert (found["accuracy-finding"].data["value"], found["accuracy"].data["promised"]) == ("0.550000", "0.800000")
    assert (found["latency-finding"].data["host"], found["latency-finding"].data["value"]) == ("h2", "3.250000")
    page = world.client("rosa").get(f"/incidents/{incident.ref}/").content.decode()
    told = ["PSI 0.4", "AUC 0.91", "45.0% wrong", "55.0% right", "3.25 times"]
    assert [text for text in told if f"<b>{text}</b>" in page] == told
    assert f'<a href="/monitoring/windows/{joint.window_id}/">joint_drift is in breach.</a>' in page
    assert "limit AUC 0.60" in page


def test_a_finding_on_which_an_alert_joins_later_is_frozen_once_beside_the_rest(world: World) -> None:
    found_in_breach(world, "accuracy", value=0.55, limit=0.78)
    incident = world.incident()
    before = list(incident.evidence.values_list("sha256", flat=True))
    found_in_breach(world, "concept_drift", value=0.45, limit=0.25)

    world.incident(kind="concept_drift", fingerprint="b" * 64)
    world.incident(kind="accuracy", fingerprint="c" * 64)

    after = list(incident.evidence.order_by("pk"))
    assert [piece.sha256 for piece in after[:-1]] == before
    assert (after[-1].kind, after[-1].claim) == ("concept-drift", "concept_drift is in breach.")
    assert incident.incident_alerts.count() == 3
    frozen = events(incident, "incident.evidence.freeze")
    assert len(frozen) == len(after)
