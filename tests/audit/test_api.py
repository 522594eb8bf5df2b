from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from accounts.models import Role, User
from audit.models import AuditEvent
from audit.sequencer import Sequencer
from audit.verify import check_consistency, check_inclusion, open_note, verify_bundle
from tests.audit.log import at_work, event, sequence_all, sequencer_in
from tests.audit.test_pages import signed_in
from tests.conftest import CommittedDatabase

API = "/api/v1/audit"


@pytest.fixture
def grown_log(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Sequencer]:
    """Seven events in checkpoints of three and seven leaves."""
    sequencer = sequencer_in(tmp_path)
    for number in range(7):
        event(incident="INC-1", data={"number": number}, reason="why" if number == 6 else "")
        if number == 2:
            sequence_all(sequencer)
    sequence_all(sequencer)
    yield sequencer
    connections["sequencer"].close()


def test_events_are_listed_with_their_exact_records(grown_log: Sequencer) -> None:
    answer = signed_in().get(f"{API}/events/?incident=INC-1").json()
    assert (len(answer["results"]), answer["next"]) == (7, None)
    newest = answer["results"][0]
    stored = AuditEvent.objects.get(event_uuid=newest["id"])
    assert newest["canon"].encode() == bytes(stored.canon)
    assert newest["record"]["data"] == {"number": 6}
    assert (newest["incident_seq"], newest["leaf_index"], newest["has_text"]) == (7, 6, True)


def test_pages_of_events_lead_on_by_place(grown_log: Sequencer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.api.EventPages.page_size", 3)
    client, address, seen = signed_in(), f"{API}/events/?incident=INC-1", []
    while address:
        answer = client.get(address).json()
        seen += [one["incident_seq"] for one in answer["results"]]
        address = answer["next"]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_an_inclusion_proof_holds(grown_log: Sequencer) -> None:
    client = signed_in()
    made = AuditEvent.objects.get(incident_seq=3)
    proof = client.get(f"{API}/events/{made.event_uuid}/inclusion/").json()
    hashes = [bytes.fromhex(one) for one in proof["hashes"]]
    assert (proof["leaf_index"], proof["tree_size"]) == (2, 7)
    assert check_inclusion(bytes.fromhex(proof["leaf_hash"]), 2, 7, hashes, grown_log.frontier.root())


def test_a_consistency_proof_holds_between_two_signed_checkpoints(grown_log: Sequencer) -> None:
    client = signed_in()
    old, new = (client.get(f"{API}/checkpoints/{size}/").json() for size in (3, 7))
    assert client.get(f"{API}/checkpoints/latest/").json() == new
    assert open_note(new["note"], grown_log.signer.vkey)
    proof = client.get(f"{API}/checkpoints/consistency/?old=3&new=7").json()["hashes"]
    hashes = [bytes.fromhex(one) for one in proof]
    assert check_consistency(3, 7, bytes.fromhex(old["root_hash"]), bytes.fromhex(new["root_hash"]), hashes)


@pytest.mark.parametrize("sizes", ["old=7&new=3", "old=3&new=8", "old=3", "old=a&new=b"])
def test_there_is_no_consistency_proof_of_nonsense(grown_log: Sequencer, sizes: str) -> None:
    answer = signed_in().get(f"{API}/checkpoints/consistency/?{sizes}")
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_the_state_of_the_log_is_told(grown_log: Sequencer) -> None:
    state = signed_in().get(f"{API}/log/").json()
    assert (state["events"], state["tree_size"], state["lag_events"], state["signed"]) == (7, 7, 0, True)
    assert state["vkey"] == grown_log.signer.vkey


def test_an_export_verifies(grown_log: Sequencer, tmp_path: Path) -> None:
    with at_work(tmp_path):
        answer = signed_in().post(f"{API}/log/export/", {"incident": "INC-1"}, content_type="application/json")
    assert answer.status_code == 200
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"".join(answer.streaming_content))  # type: ignore[arg-type]
    answer.close()
    assert verify_bundle(str(path), grown_log.signer.vkey).status() == 0
    assert AuditEvent.objects.latest("id").action == "audit.export"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["events/", "checkpoints/", "checkpoints/latest/", "log/"])
def test_a_viewer_reads_nothing_of_the_log(path: str) -> None:
    client = signed_in(Role.VIEWER)
    answer = client.get(f"{API}/{path}")
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert User.objects.count() == 1
    assert client.post(f"{API}/log/export/").status_code == 403


@pytest.mark.django_db
def test_an_event_without_a_leaf_has_no_proof_yet() -> None:
    made = event()
    assert signed_in().get(f"{API}/events/{made.event_uuid}/inclusion/").status_code == 404
