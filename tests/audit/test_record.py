import json
import threading
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connections, transaction

from audit.actions import Actor, RecordError, Target, reason_commitment, record
from audit.erasure import erase_reason
from audit.models import AuditEvent, AuditIncidentCounter, AuditPrivate
from audit.queries import record_of, timeline
from tests.audit.log import ALICE, BOB, event
from tests.conftest import CommittedDatabase


@pytest.mark.django_db
def test_a_record_holds_who_did_what_to_what_in_canonical_bytes() -> None:
    made = record(
        action="approval.decide",
        target=Target("approval_request", "r-1", "3"),
        actor=ALICE,
        data={"share": Decimal("0.25"), "hosts": ("a", "b")},
        incident="INC-7",
        correlation={"run": "x"},
    )
    stored = AuditEvent.objects.get(pk=made.pk)
    body = json.loads(bytes(stored.canon))
    assert bytes(stored.canon) == json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    assert body.pop("event_id") == str(stored.event_uuid)
    assert body.pop("occurred_at") == stored.occurred_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert body.pop("recorded_by").startswith("lastgood_app/")
    assert body == {
        "v": 1,
        "log_origin": "lastgood.local/log",
        "action": "approval.decide",
        "outcome": "success",
        "actor": {"kind": "user", "id": "u-alice", "auth": {"method": "password"}},
        "target": {"kind": "approval_request", "id": "r-1", "version": "3"},
        "data": {"share": "0.25", "hosts": ["a", "b"]},
        "incident": "INC-7",
        "incident_seq": 1,
        "correlation": {"run": "x"},
    }


@pytest.mark.django_db
def test_a_reason_stays_out_of_the_record_which_holds_its_commitment() -> None:
    made = event(reason="Jane Doe asked for it")
    private = AuditPrivate.objects.get(event=made)
    assert private.text == "Jane Doe asked for it"
    assert b"Jane" not in bytes(made.canon)
    assert b"Jane" not in bytes(private.sealed)
    key, text = private.opened() or (b"", "")
    assert record_of(made)["reason_commit"] == reason_commitment(key, text)


@pytest.mark.django_db
def test_an_erased_reason_is_gone_and_its_erasure_is_recorded() -> None:
    made = event(reason="Jane Doe asked for it")
    before = bytes(made.canon)
    assert erase_reason(event=made, actor=BOB, reason="request for erasure")
    assert not AuditPrivate.objects.filter(event=made).exists()
    assert bytes(AuditEvent.objects.get(pk=made.pk).canon) == before
    latest = AuditEvent.objects.latest("id")
    assert (latest.action, latest.target_id, latest.actor) == ("audit.reason.erase", str(made.event_uuid), "u-bob")
    assert not erase_reason(event=made, actor=BOB, reason="again")
    assert AuditEvent.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"share": 0.5}}, "record.data.share is a float"),
        ({"data": {"file": b"x"}}, "bytes"),
        ({"data": {"number": 2**60}}, "safe integer"),
        ({"data": {"text": "x" * 66_000}}, "at most 65535"),
        ({"action": "decide"}, "dotted"),
        ({"action": "Approval.Decide"}, "dotted"),
        ({"outcome": "maybe"}, "none of success"),
        ({"actor": Actor("robot", "r-1")}, "none of user"),
        ({"actor": Actor("user", "")}, "none of user"),
        ({"actor": Actor("user", "jane@example.com")}, "pseudonyms"),
        ({"target": Target("", "x")}, "target"),
        ({"reason": "x" * 20_001}, "20000"),
    ],
)
def test_abuse_62_what_cannot_be_recorded_is_refused_and_nothing_is_written(
    change: dict[str, object], words: str
) -> None:
    given = {"action": "incident.update", "target": Target("incident", "INC-1"), "actor": ALICE, "incident": "INC-1"}
    with pytest.raises(RecordError, match=words), transaction.atomic():
        record(**(given | change))
    assert not AuditEvent.objects.exists()
    assert not AuditIncidentCounter.objects.exists()
    assert not AuditPrivate.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("data", [{"name": "a\0b"}, {"a\0b": 1}, {"names": ["\\\\\0"]}])
def test_a_record_that_holds_nul_is_refused_before_the_database_refuses_it(data: dict[str, object]) -> None:
    with pytest.raises(RecordError, match="NUL"), transaction.atomic():
        record(action="host.register", target=Target("host", "h1"), actor=ALICE, data=data)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_a_record_that_only_tells_how_nul_is_written_is_kept() -> None:
    made = record(action="host.register", target=Target("host", "h1"), actor=ALICE, data={"name": "\\u0000"})
    assert record_of(made)["data"] == {"name": "\\u0000"}


@pytest.mark.django_db
def test_when_the_record_fails_so_does_the_action() -> None:
    with transaction.atomic():
        event()
        try:
            event(data={"share": 0.5})
        except RecordError:
            assert transaction.get_connection().needs_rollback
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_each_incident_counts_for_itself_and_other_events_count_nothing() -> None:
    for incident in ("INC-1", "INC-2", "INC-1", ""):
        event(incident=incident)
    assert list(AuditEvent.objects.order_by("id").values_list("incident", "incident_seq")) == [
        ("INC-1", 1),
        ("INC-2", 1),
        ("INC-1", 2),
        ("", None),
    ]


def test_parallel_and_aborted_events_of_an_incident_leave_no_gap(committed_db: CommittedDatabase) -> None:
    def write(number: int) -> None:
        for turn in range(10):
            try:
                with transaction.atomic():
                    event(incident="INC-1")
                    if (number + turn) % 4 == 0:
                        raise InterruptedError
            except InterruptedError:
                pass
        connections.close_all()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    numbers = [entry.seq for entry in timeline("INC-1")]
    assert numbers == list(range(1, 61))


def test_an_incidents_second_writer_waits_for_the_first_to_commit(committed_db: CommittedDatabase) -> None:
    done = threading.Event()

    def second() -> None:
        event(incident="INC-1", actor=BOB)
        done.set()
        connections.close_all()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        event(incident="INC-1")
        thread.start()
        deadline = time.monotonic() + 60
        while not committed_db.execute("SELECT 1 FROM pg_locks WHERE NOT granted") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not done.is_set()
    thread.join(60)
    assert [(entry.seq, entry.actor) for entry in timeline("INC-1")] == [(1, "u-alice"), (2, "u-bob")]


@pytest.mark.django_db
def test_a_timeline_is_one_query_whatever_its_length(django_assert_num_queries: Callable[..., object]) -> None:
    for number in range(20):
        event(incident="INC-1", reason="because" if number % 2 else "", data={"number": number})
    with django_assert_num_queries(1):
        entries = timeline("INC-1")
    assert [entry.data["number"] for entry in entries] == list(range(20))
    assert [entry.reason for entry in entries[:2]] == ["", "because"]
    assert entries[0].leaf_index is None
