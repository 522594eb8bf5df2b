"""What an export of one model, one person, one incident holds, and how a part of the log is anchored."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from pytest_django.fixtures import Settings

from audit.erasure import erase_reason
from audit.models import AuditCheckpoint, AuditEvent
from audit.note import Signer, create_key_file
from audit.scopes import Scope, ScopeError
from audit.sequencer import Sequencer
from tests.audit import story
from tests.audit.log import BOB, check, event, exported, sequence_all, sequencer_in, unzip
from tests.conftest import CommittedDatabase


@dataclass
class Log:
    sequencer: Sequencer
    directory: Path
    witness: Signer

    def export(self, **scope: Any) -> Path:
        path = self.directory / "bundle.zip"
        exported(self.sequencer, path, **scope)
        return path

    def verified(self, path: Path, *options: str) -> tuple[int, str]:
        return check(path, "--key", self.sequencer.signer.vkey, *options)


@pytest.fixture
def log(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Log]:
    """Two models, two incidents, one run, in one checkpoint."""
    story.two_models()
    sequencer = sequencer_in(tmp_path)
    sequence_all(sequencer)
    yield Log(sequencer, tmp_path, create_key_file(tmp_path / "witness.key", "witness.example/w1"))
    connections["sequencer"].close()


def told(path: Path) -> tuple[list[str], list[str]]:
    """What the bundle's own events, and its context, are about."""
    members = unzip(path)
    context = json.loads(members["manifest.json"])["context"]
    lines = [json.loads(line) for line in members["events.jsonl"].splitlines()]
    about = [(line["leaf_index"], line["record"]) for line in lines]
    words = [(leaf, record.get("incident") or f"{record['action']} {record['target']['id']}") for leaf, record in about]
    return (
        sorted({word for leaf, word in words if leaf not in context}),
        sorted({word for leaf, word in words if leaf in context}),
    )


def test_a_models_part_holds_its_endpoints_versions_and_whole_incidents(log: Log) -> None:
    path = log.export(model="income")
    status, words = log.verified(path)
    assert status == 0, words
    assert "INC-1: events 1 to 10, none missing." in words
    assert told(path) == (
        ["INC-1", "endpoint.register employment-production", "model.register income", "version.register income/1"],
        ["role.grant u-bob", "role.grant u-carol"],
    )


def test_a_persons_part_holds_what_the_person_did_or_is_named_in_and_what_it_is_judged_by(log: Log) -> None:
    path = log.export(person="u-carol")
    status, words = log.verified(path)
    assert status == 0, words
    actions = [json.loads(line)["record"]["action"] for line in unzip(path)["events.jsonl"].splitlines()]
    assert actions == ["role.grant", "approval.decide", "approval.consume"]
    assert json.loads(unzip(path)["manifest.json"])["context"] == []

    path = log.export(person="svc:worker")
    status, words = log.verified(path)
    assert status == 0, words
    assert "Runs: 1, each with the approvals its policy demanded" in words
    own, context = told(path)
    assert "role.grant u-mallory" in own
    places = ["endpoint.register employment-production", "model.register income"]
    assert context == ["INC-1", *places], "the decisions of the two are its context, and what says which policy holds"


def test_an_erasure_goes_with_what_it_explains(log: Log) -> None:
    erased = AuditEvent.objects.get(action="incident.resolve", incident="INC-1")
    assert erase_reason(event=erased, actor=BOB, reason="asked for")
    sequence_all(log.sequencer)
    path = log.export(incident="INC-1")
    status, words = log.verified(path)
    assert (status, "3 reasons match their records; 1 were erased." in words) == (0, True), words
    assert "audit.reason.erase" in told(path)[1][0]


def test_nothing_of_an_unknown_model_or_person_is_exported(log: Log) -> None:
    from audit.export import NothingToExport

    for scope in ({"model": "incom"}, {"model": "employment-production"}, {"person": "u-bo"}):
        with pytest.raises(NothingToExport, match="No event"):
            log.export(**scope)


@pytest.mark.parametrize("scope", [{"incident": "I", "person": "p"}, {"model": "m", "until": story.now()}])
def test_a_scope_is_one_thing(scope: dict[str, Any]) -> None:
    with pytest.raises(ScopeError, match="one of them"):
        Scope(**scope)


# Anchors: an older checkpoint, witnesses


def test_a_part_extends_a_checkpoint_of_its_own_size(log: Log) -> None:
    for _ in range(3):
        event()
    assert sequence_all(log.sequencer) == 23  # four complete subtrees, two of which the incident's part does not need
    note = log.directory / "same.note"
    note.write_text(AuditCheckpoint.objects.latest("size").note)
    status, words = log.verified(log.export(incident="INC-2"), "--since", str(note))
    assert status == 0, words


def test_a_part_shows_that_it_extends_an_older_export_or_the_size_that_was_asked_for(log: Log) -> None:
    old = log.directory / "old.note"
    old.write_bytes(unzip(log.export(incident="INC-2"))["checkpoint"])
    event()
    sequence_all(log.sequencer)
    later = log.directory / "later.note"
    later.write_text(AuditCheckpoint.objects.latest("size").note)
    size = AuditCheckpoint.objects.latest("size").size
    event()
    sequence_all(log.sequencer)

    path = log.export(incident="INC-1")
    assert log.verified(path, "--since", str(old))[0] == 0, "its size was that of an earlier export"
    status, words = log.verified(path, "--since", str(later))
    assert (status, "does not show that its tree extends the old checkpoint" in words) == (2, True)
    assert log.verified(log.export(incident="INC-1", extends=size), "--since", str(later))[0] == 0

    other = log.sequencer.signer.sign(f"lastgood.local/log\n{size}\n{'A' * 43}=\n")
    later.write_text(other)
    status, words = log.verified(log.export(incident="INC-1", extends=size), "--since", str(later))
    assert (status, "The tree does not extend the old checkpoint" in words) == (1, True)


def test_witnesses_that_are_demanded_must_have_signed(log: Log, settings: Settings) -> None:
    other = create_key_file(log.directory / "other.key", "witness.example/w2")
    asked = ["--witness", log.witness.vkey]
    status, words = log.verified(log.export(incident="INC-1"), *asked)
    assert (status, words.splitlines()[-1]) == (
        3,
        "Unwitnessed: 0 of the 1 witnesses that were demanded have signed it.",
    )

    settings.LASTGOOD_WITNESSES = [log.witness.vkey]
    path = log.export(incident="INC-1", witness=log.witness)
    status, words = log.verified(path, *asked)
    assert (status, "1 of 1 witnesses have signed it." in words) == (0, True)
    both = [*asked, "--witness", other.vkey]
    assert log.verified(path, *both)[0] == 3
    assert log.verified(path, *both, "--quorum", "1")[0] == 0
    assert check(path, *asked)[0] == 3, "witnesses do not stand for the log's own key"


def test_a_cosignature_by_another_key_of_that_name_does_not_count(log: Log, settings: Settings) -> None:
    settings.LASTGOOD_WITNESSES = [log.witness.vkey]
    path = log.export(incident="INC-1", witness=log.witness)
    namesake = create_key_file(log.directory / "namesake.key", log.witness.name)
    assert log.verified(path, "--witness", namesake.vkey)[0] == 3


@pytest.mark.parametrize(
    "options",
    [
        ["--quorum", "1"],
        ["--witness", "x"],
        ["--key", "x"],
        ["--since", "/nowhere/old.note"],
        ["--nonsense"],
        ["--witness", "{w}", "--witness", "{w}"],
        ["--key", "{w}", "--witness", "{w}"],
        ["--witness", "{w}", "--quorum", "2"],
    ],
)
def test_a_command_that_cannot_be_meant_is_no_verdict(tmp_path: Path, options: list[str]) -> None:
    witness = create_key_file(tmp_path / "w.key", "witness.example/w1")
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"")
    status, words = check(path, *(option.format(w=witness.vkey) for option in options))
    assert (status, words.count("\n")) == (64, 1)
    assert check(tmp_path / "nowhere.zip")[0] == 64
