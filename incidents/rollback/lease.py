"""Who moves a run: a lease in the run's row, taken by compare-and-set and timed by the database's clock."""

import datetime
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, LiteralString, Self

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.db.models import BooleanField, F, Func, Q
from django.db.models.functions import Now
from psycopg import sql

from incidents.rollback.fleet import Known
from incidents.rollback.hands import Hands
from incidents.rollback.models import Run, RunState

if TYPE_CHECKING:
    from incidents.rollback.ahead import Ahead

logger = logging.getLogger(__name__)

MOVING = [RunState.RUNNING, RunState.COMPENSATING]
WATCHED = "watched-"
"""How a holder is called whose session keeps a lock of that name: PostgreSQL drops it when its process dies."""


class SessionIsGone(Func):
    """True when no session of this database keeps the advisory lock of that name. pg_locks shows the 64 bits of its key
    as two halves (classid, objid), objsubid 1."""

    template = (
        "NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(%(expressions)s, 0))"
    )
    output_field = BooleanField()


def is_free(now: Any) -> Q:
    """The condition that nobody holds a row's lease: none was taken, it has run out, or its holder's session has ended.

    A holder that is only slow, stopped or cut off keeps its session, and so its lease until that runs out. Were one
    wrongly taken for dead, it would lose its lease as to one that has run out: hosts refuse nobody twice for it.
    """
    gone = Q(lease_holder__startswith=WATCHED) & Q(SessionIsGone(F("lease_holder")))
    return Q(lease_expires_at=None) | Q(lease_expires_at__lte=now) | gone


HELD: LiteralString = """SELECT statement_timestamp() FROM {table} WHERE id = %s AND lease_holder = ANY(%s)
    AND lease_expires_at > statement_timestamp() AND state = ANY(%s) """
GONE = "The lease of run {} is gone, or the run no longer moves."


class LeaseLost(Exception):
    """This worker may not move the run any further: the lease is another's, or a person stopped or halted the run."""


def lease_length() -> datetime.timedelta:
    return datetime.timedelta(seconds=float(settings.LASTGOOD_LEASE_SECONDS))


class Lease:
    """The right to move one run, held for the length of a `with` block and renewed meanwhile.

    `held` says whether it was got. On leaving, the run's next wake-up is a second from now, or as `wake_in` said.
    `state` is the run's state in which the work in hand was begun: what was begun going forward does not go on in a
    run that a person has turned back meanwhile. `hands` are the threads that work on its hosts,
    `known` is what they keep of them, `ahead` what they load for the next wave.
    """

    hands: Hands[float | None]
    known: Known
    ahead: "Ahead"

    rows: Any = Run
    moving: Sequence[str] = MOVING

    def __init__(self, run_id: Any) -> None:
        self.run_id = run_id
        self.holder = f"lease-{uuid.uuid4().hex}"
        self.watched = WATCHED + self.holder
        self.held = False
        self._wake_at: float | None = None
        self.state = ""
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.held = self._take()
        if self.held:
            self._renewer = threading.Thread(target=self._renew_until_ended, name=self.holder, daemon=True)
            self._renewer.start()
        return self

    def _take(self, **fields: Any) -> bool:
        mine = {"lease_holder": self.holder, "lease_expires_at": Now() + lease_length()}
        taken = self.rows.objects.filter(is_free(Now()), pk=self.run_id).update(
            **mine, attempts=F("attempts") + 1, **fields
        )
        return bool(taken)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.held:
            return
        self._ended.set()
        if self._renewer is not None:
            self._renewer.join()
        left = 1.0 if self._wake_at is None else max(0.0, self._wake_at - time.monotonic())
        self._mine().update(lease_holder="", lease_expires_at=None, due_at=Now() + datetime.timedelta(seconds=left))

    def wake_in(self, seconds: float) -> None:
        """Set the run's next wake-up, counted from now: what is under way on hosts may keep the lease meanwhile."""
        self._wake_at = time.monotonic() + seconds

    def confirm(self) -> None:
        """Renew inside the caller's transaction, which thereby holds the run's row. Raises LeaseLost."""
        if not self._moving().update(lease_expires_at=Now() + lease_length()):
            raise LeaseLost(GONE.format(self.run_id))

    def share(self) -> datetime.datetime:
        """Hold the run's row in the caller's transaction together with the run's other hosts; the database's time.
        Raises LeaseLost.

        Every intent is committed with this, so no call to a host is made without the lease: who moves the run, takes
        its lease or stops it writes the row, and waits for the intents under way, as later ones wait for that.
        """
        return self._time_if_moving("FOR SHARE")

    def check(self) -> datetime.datetime:
        """The database's time, if the lease is held and the run still moves. Raises LeaseLost.

        For a move that no call follows: it waits for no other host of the run. Should the lease go before the move is
        committed, the step's own version lets only one of the two who then want to move it do so.
        """
        return self._time_if_moving("")

    def _time_if_moving(self, lock: LiteralString) -> datetime.datetime:
        """As SQL: it is asked before each move of each host, and to compile it costs more than to answer it."""
        asked = sql.SQL(HELD + lock).format(table=sql.Identifier(self.rows._meta.db_table))
        with connection.cursor() as cursor:
            cursor.execute(asked, [self.run_id, [self.holder, self.watched], self._states()])
            found = cursor.fetchone()
        if found is None:
            raise LeaseLost(GONE.format(self.run_id))
        now: datetime.datetime = found[0]
        return now

    def _moving(self) -> Any:
        return self._mine().filter(lease_expires_at__gt=Now(), state__in=self._states())

    def _states(self) -> list[str]:
        return [str(state) for state in ([self.state] if self.state else self.moving)]

    def pause(self, seconds: float) -> None:
        """Keep the lease and wait a moment."""
        self._ended.wait(seconds)

    def _mine(self) -> Any:
        return self.rows.objects.filter(pk=self.run_id, lease_holder__in=[self.holder, self.watched])

    def _renew_until_ended(self) -> None:
        """In a thread, whose own session shows that this process lives."""
        try:
            wait = 0.0
            while not self._ended.wait(wait):
                wait = lease_length().total_seconds() / 3
                try:
                    self._renew()
                except DatabaseError as error:
                    logger.warning("rollback.lease.renewal_failed run=%s error=%s", self.run_id, error)
                    connections.close_all()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        """Keep the lock, anew where the session is, and only then be called after it."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [self.watched])
            (locked,) = cursor.fetchone()
        holder = self.watched if locked else self.holder
        mine = self._mine().filter(lease_expires_at__gt=Now())
        mine.update(lease_holder=holder, lease_expires_at=Now() + lease_length())
