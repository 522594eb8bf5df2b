"""Holds, erasures and writing at the same moment: each waits for the other, and none leaves a clear copy behind."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction

from audit import erasure, holds
from audit.actions import WriterErased
from audit.erasure import ERASED, Written, erase_reason, erase_subject
from audit.holds import Held, HoldError, place
from audit.models import AuditEvent, AuditHold
from audit.queries import record_of
from tests.audit.log import ALICE, BOB, CAROL, event
from tests.conftest import CommittedDatabase

WAITING = "SELECT count(*) FROM pg_locks AS l WHERE NOT l.granted AND pg_backend_pid() = ANY(pg_blocking_pids(l.pid))"
ERASE = {"subject": "u-alice", "actor": CAROL, "reason": "asked for it"}
HOLD = {"kind": "subject", "ref": "u-alice", "actor": BOB, "reason": "case 12"}


class Beside:
    """Runs something in a thread, with a connection of its own."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)

    def start(self, act: Callable[..., Any], **given: Any) -> Future[Any]:
        """Returns when it waits for a lock that this connection holds."""

        def run() -> Any:
            try:
                return act(**given)
            finally:
                connections.close_all()

        future = self.pool.submit(run)
        deadline = time.monotonic() + 30
        while not self._waits():
            assert not future.done(), future.exception() or future.result()
            assert time.monotonic() < deadline, "it does not wait for a lock"
            time.sleep(0.01)
        return future

    @staticmethod
    def _waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            return bool(cursor.fetchone()[0])


@pytest.fixture
def beside(committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    """And a table of an app above, in which a person's words stand in clear."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE clear_copy (words text)")
        cursor.execute("GRANT ALL ON clear_copy TO lastgood_app")

    def eraser(subject: str, written: Sequence[Written]) -> dict[str, int]:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE clear_copy SET words = %s WHERE words = ANY(%s)", [ERASED, [w.text for w in written]]
            )
            return {"clear_copy": cursor.rowcount}

    monkeypatch.setattr(erasure, "_erasers", [eraser])
    monkeypatch.setattr(holds, "_knowers", {})
    made = Beside()
    yield made
    made.pool.shutdown()


def wrote(words: str) -> AuditEvent:
    """An act of Alice's, whose words are recorded and stand in the table."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO clear_copy VALUES (%s)", [words])
    return event(incident="INC-1", reason=words)


def copies() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT words FROM clear_copy ORDER BY words")
        return [row[0] for row in cursor.fetchall()]


def test_a_hold_that_is_being_placed_stops_an_erasure_at_the_same_moment(beside: Beside) -> None:
    made = wrote("Jane did it")
    with transaction.atomic():
        place(**HOLD)
        erasing = beside.start(erase_subject, **ERASE)
    with pytest.raises(Held, match="Lift the hold first"):
        erasing.result(30)
    with transaction.atomic():
        place(kind="incident", ref="INC-1", actor=BOB, reason="case 13")
        erasing = beside.start(erase_reason, event=made, actor=CAROL, reason="asked for it")
    with pytest.raises(Held, match="Lift the hold first"):
        erasing.result(30)
    assert copies() == ["Jane did it"]
    assert not AuditEvent.objects.filter(action__contains="erase").exists()


def test_a_hold_that_comes_during_an_erasure_says_what_is_gone(beside: Beside) -> None:
    wrote("Jane did it")
    with transaction.atomic():
        erase_subject(**ERASE)
        placing = beside.start(place, **HOLD)
    with pytest.raises(HoldError, match=r"was erased at .* UTC: there is no text left to keep"):
        placing.result(30)
    assert not AuditHold.objects.exists()
    place(kind="incident", ref="INC-1", actor=BOB, reason="case 12")
    assert record_of(AuditEvent.objects.get(action="hold.place"))["data"]["erased"] == 1


def test_what_is_being_written_during_an_erasure_is_erased_or_not_written_at_all(beside: Beside) -> None:
    with transaction.atomic():
        wrote("written just before")
        erasing = beside.start(erase_subject, **ERASE)
    assert erasing.result(30).rows == {"clear_copy": 1}
    assert copies() == [ERASED]

    with transaction.atomic():
        event(actor=BOB, reason="of Bob")
        erase_subject(**ERASE | {"subject": "u-bob"})

        def bob_writes() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("INSERT INTO clear_copy VALUES ('written meanwhile')")
                event(actor=BOB, reason="written meanwhile")

        writing = beside.start(bob_writes)
    with pytest.raises(WriterErased, match="u-bob was erased"):
        writing.result(30)
    assert copies() == [ERASED]
    assert AuditEvent.objects.filter(actor=ALICE.id).count() == 1
