import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from accounts.actions import issue_token
from accounts.models import Role
from audit.actions import service_actor
from audit.integrity import verify_log
from audit.merkle import Frontier, leaf_hash
from audit.models import AuditCheckpoint, AuditCosignature
from audit.note import Signer, checkpoint_text, create_key_file, read_key_file
from audit.queries import checkpoint_at, note_of, status
from audit.sequencer import Sequencer
from audit.verify import open_note, parse_checkpoint
from audit.watch import witnessed
from audit.witness import Equivocation, NotCosigned, StateInUse, Witness, WitnessState
from tests.accounts.people import person
from tests.audit.log import event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase

API = "/api/v1/audit"


@pytest.fixture
def sequencer(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Sequencer]:
    for _ in range(3):
        event()
    sequencer = sequencer_in(tmp_path)
    sequence_all(sequencer)
    yield sequencer
    connections["sequencer"].close()


@pytest.fixture
def token(committed_db: CommittedDatabase) -> str:
    admin = person("ada", Role.ADMINISTRATOR)
    return issue_token(owner=admin, name="witness", scopes=["witness"], expires_at=None, actor=service_actor("test"))[1]


def witness_of(directory: Path, log_vkey: str, transport: httpx.BaseTransport, token: str = "") -> Witness:
    """A witness with a key and a state in the directory, whose log is behind the transport."""
    key = directory / "witness.key"
    signer = read_key_file(key) if key.exists() else create_key_file(key, "witness.example/w1")
    headers = {"Authorization": f"Bearer {token}"}
    client = httpx.Client(base_url="http://testserver", transport=transport, headers=headers)
    return Witness(signer, WitnessState(directory / "witness.state"), log_vkey, client)


@pytest.fixture
def witness(sequencer: Sequencer, token: str, tmp_path: Path, settings: Settings) -> Witness:
    """A witness of the real log, through the whole of Django."""
    made = witness_of(tmp_path, sequencer.signer.vkey, httpx.WSGITransport(get_wsgi_application()), token)
    settings.LASTGOOD_WITNESSES = [made.signer.vkey]
    sequence_all(sequencer)
    return made


def test_a_witness_cosigns_what_extends_the_last_it_cosigned(witness: Witness, sequencer: Sequencer) -> None:
    assert witnessed().size == 0
    first = witness.look()
    event()
    sequence_all(sequencer)
    assert witness.look().size == first.size + 1
    checkpoint = checkpoint_at()
    assert checkpoint is not None
    note = note_of(checkpoint)
    assert parse_checkpoint(open_note(note, sequencer.signer.vkey)).size == first.size + 1
    assert open_note(note, witness.signer.vkey) == open_note(note, sequencer.signer.vkey)
    seen = witnessed()
    assert (seen.size, seen.since, seen.behind) == (first.size + 1, None, ["witness.example/w1"])
    event()
    sequence_all(sequencer)
    assert witnessed().since == AuditCheckpoint.objects.latest("size").created_at
    assert AuditCosignature.objects.count() == 2


def test_looking_twice_at_one_checkpoint_cosigns_it_once(witness: Witness) -> None:
    assert witness.look() == witness.look()
    assert AuditCosignature.objects.count() == 1


def test_a_cosignature_that_was_lost_on_its_way_is_sent_again(witness: Witness, settings: Settings) -> None:
    settings.LASTGOOD_WITNESSES = []
    with pytest.raises(NotCosigned, match="No witness of LASTGOOD_WITNESSES"):
        witness.look()
    assert witness.state.read() is not None, "what was checked is kept before it is answered"
    settings.LASTGOOD_WITNESSES = [witness.signer.vkey]
    witness.look()
    assert AuditCosignature.objects.count() == 1


def test_a_witness_that_is_silent_raises_an_alarm(witness: Witness, settings: Settings, sequencer: Sequencer) -> None:
    settings.LASTGOOD_WITNESS_ALARM_SECONDS = 0
    assert status().witnessed.alarm
    assert "witness.example/w1 did not cosign" in status().alarms[0]
    assert Client().get("/readyz").json()["log"] == "unwitnessed; see the auditors' page"
    witness.look()
    assert status().alarms == []


def test_the_alarm_names_the_witness_that_lags_alone(
    witness: Witness, settings: Settings, sequencer: Sequencer, tmp_path: Path
) -> None:
    create_key_file(tmp_path / "second" / "witness.key", "witness.example/w2")
    second = witness_of(tmp_path / "second", sequencer.signer.vkey, witness.client._transport)
    second.client.headers = witness.client.headers
    settings.LASTGOOD_WITNESSES = [witness.signer.vkey, second.signer.vkey]
    settings.LASTGOOD_WITNESS_ALARM_SECONDS = 0
    witness.look()
    second.look()
    event()
    sequence_all(sequencer)
    witness.look()
    assert ": witness.example/w2 did not cosign beyond" in witnessed().sentence


def test_a_signature_that_the_application_wrote_for_a_witness_does_not_count(
    witness: Witness, sequencer: Sequencer, tmp_path: Path
) -> None:
    """Its login may add such rows, as it does when a witness sends one."""
    witness.look()
    event()
    sequence_all(sequencer)
    last = AuditCheckpoint.objects.latest("size")
    namesake = create_key_file(tmp_path / "namesake.key", witness.signer.name)
    text = last.note.rpartition("\n\n")[0] + "\n"
    line = namesake.sign(text)[len(text) + 1 :]
    AuditCosignature.objects.create(
        checkpoint=last, witness=witness.signer.name, note_line=line, created_at=last.created_at
    )
    found = witnessed()
    assert (found.size, found.behind, found.alarm) == (0, ["witness.example/w1"], True)
    assert "kept as that of witness.example/w1 is not theirs" in status().alarms[0]
    assert verify_log().problems == [
        f"The checkpoint at {last.size} was not signed by witness.example/w1, whose signature is kept beside it."
    ]


def test_the_witnesss_token_reads_nothing_else(witness: Witness) -> None:
    for path in ("events/", "checkpoints/", "log/"):
        assert witness.client.get(f"{API}/{path}").status_code == 403
    assert witness.client.get(f"{API}/checkpoints/latest/").status_code == 200


@pytest.mark.parametrize("line", ["", "— x y", "— x y\n— z y\n", "— witness.example/w1 AAAA\n", "nonsense\n"])
def test_what_no_witness_signed_is_not_kept(witness: Witness, line: str) -> None:
    size = AuditCheckpoint.objects.latest("size").size
    answer = witness.client.post(f"{API}/cosignatures/", json={"size": size, "note_line": line})
    assert answer.status_code == 400
    assert AuditCosignature.objects.count() == 0


def test_a_cosignature_of_another_checkpoint_is_not_kept(witness: Witness, sequencer: Sequencer) -> None:
    text = checkpoint_text(sequencer.signer.name, 3, b"\0" * 32)
    line = witness.signer.sign(text)[len(text) + 1 :]
    size = AuditCheckpoint.objects.latest("size").size
    for place in (size, size + 7):
        answer = witness.client.post(f"{API}/cosignatures/", json={"size": place, "note_line": line})
        assert answer.status_code == 400
    assert AuditCosignature.objects.count() == 0


class TwoFacedLog:
    """An operator who holds the log's key and shows whichever history suits."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.leaves: list[bytes] = []
        self.cosigned: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        from audit.merkle import consistency_proof, range_hash_of

        if request.method == "POST":
            self.cosigned.append(json.loads(request.content)["size"])
            return httpx.Response(201, json={})
        if "consistency" in request.url.path:
            sizes = int(request.url.params["old"]), int(request.url.params["new"])
            proof = consistency_proof(*sizes, range_hash_of(self.leaves))
            return httpx.Response(200, json={"hashes": [one.hex() for one in proof]})
        frontier = Frontier()
        frontier.extend(self.leaves)
        note = self.signer.sign(checkpoint_text(self.signer.name, frontier.size, frontier.root()))
        return httpx.Response(200, json={"note": note})


@pytest.fixture
def two_faced(tmp_path: Path) -> TwoFacedLog:
    log = TwoFacedLog(create_key_file(tmp_path / "log.key", "lastgood.local/log"))
    log.leaves = [leaf_hash(bytes([number])) for number in range(5)]
    return log


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (b"\0\1\2\3\5", "tree of 5 leaves .* does not extend the one of 5"),
        (b"\0\1\2\3\5\6\7", "tree of 7 leaves .* does not extend the one of 5"),
        (b"\0\1\2", "shows 3 leaves after it had signed 5"),
    ],
    ids=["another root", "another branch", "set back"],
)
def test_abuse_65_a_second_history_is_refused_for_good_and_both_notes_are_kept(
    two_faced: TwoFacedLog, tmp_path: Path, history: bytes, words: str
) -> None:
    witness = witness_of(tmp_path, two_faced.signer.vkey, httpx.MockTransport(two_faced))
    witness.state.open()
    witness.look()
    two_faced.leaves = [leaf_hash(bytes([number])) for number in history]
    with pytest.raises(Equivocation, match=words):
        witness.look()
    assert two_faced.cosigned == [5]
    evidence = json.loads(witness.state.evidence_path.read_text())
    for name in ("cosigned_note", "shown_note"):
        assert parse_checkpoint(open_note(evidence[name], two_faced.signer.vkey))
    kept = witness.state.read()
    assert kept is not None
    assert kept.checkpoint.size == 5
    witness.state.close()
    with pytest.raises(Equivocation, match="was found before"):
        WitnessState(witness.state.path).open()


def test_a_checkpoint_by_another_key_is_not_cosigned(two_faced: TwoFacedLog, tmp_path: Path) -> None:
    other = create_key_file(tmp_path / "other.key", "lastgood.local/log")
    witness = witness_of(tmp_path, other.vkey, httpx.MockTransport(two_faced))
    with pytest.raises(NotCosigned, match="not signed by the log's key"):
        witness.look()
    assert (two_faced.cosigned, witness.state.read()) == ([], None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(503, text="<html>"), "no answer that can be read"),
        (httpx.Response(404, json={"detail": "Nothing has been signed yet."}), "Nothing has been signed yet"),
        (httpx.Response(200, json=[1]), "refuses GET"),
        (httpx.Response(200, content=b"x" * (2 << 20)), "more than 1048576 bytes"),
        (httpx.Response(302, headers={"Location": "http://elsewhere/"}, json={}), r"refuses GET .*\(302\)"),
    ],
)
def test_an_answer_that_is_none_is_waited_over(tmp_path: Path, answer: httpx.Response, words: str) -> None:
    log_key = create_key_file(tmp_path / "log.key", "lastgood.local/log")
    witness = witness_of(tmp_path, log_key.vkey, httpx.MockTransport(lambda request: answer))
    with pytest.raises(NotCosigned, match=words):
        witness.look()
    assert witness.state.read() is None


def test_two_witnesses_do_not_share_a_state(tmp_path: Path) -> None:
    first, second = WitnessState(tmp_path / "state"), WitnessState(tmp_path / "state")
    first.open()
    with pytest.raises(StateInUse, match="its own --state"):
        second.open()
    first.close()
