"""One log and its bundles, made once for all tests that take them apart: they need no database any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connections
from django.test import override_settings

from audit.erasure import erase_reason
from audit.export import write_bundle
from audit.models import AuditEvent
from audit.note import Signer, create_key_file
from tests.audit import story
from tests.audit.log import BOB, check, event, exported, rezip, sequence_all, sequencer_in, unzip
from tests.services import pointed_at

PARTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "incident": {"incident": "INC-1"},
    "span": {"since": story.now(-60), "until": story.now(60)},
    "model": {"model": "income"},
    "person": {"person": "svc:worker"},
}


@dataclass
class Shelf:
    """Members of the bundles: `early` of a log of thirteen leaves, signed at four and at thirteen (four registered
    models, the roles of two people, the seven events of INC-1 and its run), `parts` of the same log when it had grown.
    `older` and `newer` are checkpoints of it."""

    directory: Path
    signer: Signer
    witness: Signer
    early: dict[str, dict[str, bytes]]
    parts: dict[str, dict[str, bytes]]
    older: str
    newer: str

    @property
    def key(self) -> str:
        return self.signer.vkey

    def verified(self, members: dict[str, bytes], *options: str, key: str | None = None) -> tuple[int, str]:
        """What the verifier says of these members, with the log's key."""
        path = rezip(self.directory / "taken-apart.zip", members)
        return check(path, *(["--key", self.key if key is None else key] if key != "" else []), *options)


def build(directory: Path) -> Shelf:
    """The shelf, on a database of its own."""
    witness = create_key_file(directory / "witness.key", "witness.example/w1")
    with override_settings(LASTGOOD_WITNESSES=[witness.vkey]):
        sequencer = sequencer_in(directory)
        for number in range(4):
            event("model.register", data={"number": number}, reason=f"reason {number}")
        sequence_all(sequencer)
        story.people()
        story.whole()
        sequence_all(sequencer)

        def made(**scope: Any) -> dict[str, bytes]:
            path = directory / "made.zip"
            exported(sequencer, path, witness=witness, **scope)
            return unzip(path)

        write_bundle(directory / "bare.zip")
        early = {"bare": unzip(directory / "bare.zip"), "whole": made(), "incident": made(incident="INC-1")}
        story.models()
        story.hard_to_write()
        assert erase_reason(event=AuditEvent.objects.get(action="incident.close"), actor=BOB, reason="asked for")
        sequence_all(sequencer)
        parts = {kind: made(**scope) for kind, scope in PARTS.items()}
        older, newer = (members["checkpoint"].decode() for members in (early["whole"], parts["person"]))
        connections["sequencer"].close()
    return Shelf(directory, sequencer.signer, witness, early, parts, older, newer)


@contextmanager
def unblocked(services: Any, blocker: Any, name: str) -> Iterator[None]:
    """A database of its own for a fixture that outlives tests."""
    services.clone(name)
    with blocker.unblock(), pointed_at(name):
        yield
        connections.close_all()
    services.drop(name)
