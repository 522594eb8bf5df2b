from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from accounts.models import Role, User
from audit.models import AuditEvent
from audit.sequencer import Sequencer
from audit.verify import check_consistency, check_inclusion, leaf_hash, open_note, parse_checkpoint, verify_bundle
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


def test_an_inclusion_proof_is_given_as_a_file_that_other_tools_read(grown_log: Sequencer) -> None:
    """Of c2sp.org/tlog-proof@v1: header, extra data, index, hashes, an empty line, the checkpoint."""
    made = AuditEvent.objects.get(incident_seq=3)
    answer = signed_in().get(f"{API}/events/{made.event_uuid}/tlog-proof/")
    head, _, note = answer.content.decode().partition("\n\n")
    lines = head.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", f"extra {b64encode(bytes(made.canon)).decode()}", "index 2"]
    checkpoint = parse_checkpoint(open_note(note, grown_log.signer.vkey))
    hashes = [b64decode(line) for line in lines[3:]]
    assert check_inclusion(leaf_hash(bytes(made.canon)), 2, 7, hashes, checkpoint.root)
    assert check_inclusion(leaf_hash(bytes(made.canon)), 3, 7, hashes, checkpoint.root) is False


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


def test_an_export_of_two_things_or_of_nothing_is_refused(grown_log: Sequencer) -> None:
    client = signed_in()
    before = AuditEvent.objects.count()
    for asked, status in (({"incident": "INC-1", "model": "m"}, 400), ({"person": "u-nobody"}, 404)):
        answer = client.post(f"{API}/log/export/", asked, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert AuditEvent.objects.count() == before


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
    client = signed_in()
    for proof in ("inclusion", "tlog-proof"):
        assert client.get(f"{API}/events/{made.event_uuid}/{proof}/").status_code == 404
