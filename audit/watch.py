"""Is the log kept as it should be? Its lag and who causes it, its sequencer's own words, what witnesses have seen."""

import datetime
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection

from audit.verify import open_note, parse_vkey

NOT_SHOWN = "not shown to this login"

# Two statements: with the place as a constant the planner knows that few events lie beyond it, and reads those alone.
SIGNED = "SELECT c.last_xid, c.last_id FROM audit_checkpoint AS c ORDER BY c.size DESC LIMIT 1"
# ``blocked``: the oldest event in commit order lies at or above the horizon below which the sequencer may read.
WAITING = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(e.occurred_at)), 0)::float, count(*),
           coalesce(min(e.xid) >= pg_snapshot_xmin(pg_current_snapshot()), false)
    FROM audit_event AS e WHERE (e.xid, e.id) > (%s::xid8, %s)
"""
# Only a transaction with an id of its own holds the horizon back, in whichever database of the cluster it runs: old
# snapshots (backend_xmin) and replication slots do not.
HOLDER = """
    WITH horizon AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::xid AS xid)
    SELECT a.pid, a.usename, coalesce(nullif(a.application_name, ''), a.backend_type, ''), a.datname, a.state,
           a.xact_start
    FROM pg_stat_activity AS a, horizon AS h WHERE a.backend_xid = h.xid
    UNION ALL
    SELECT NULL, p.owner, 'prepared transaction ' || p.gid, p.database, 'prepared', p.prepared
    FROM pg_prepared_xacts AS p, horizon AS h WHERE p.transaction = h.xid
    LIMIT 1
"""
SEQUENCER = """
    SELECT s.seen_at, extract(epoch FROM clock_timestamp() - s.seen_at)::float, s.refused, s.refused_at,
           s.rehashed_at, s.rehashed_size, s.rehash_next, s.rehash_size, s.missing
    FROM audit_sequencer AS s WHERE s.id = 1
"""
WITNESSED = """
    WITH reached AS (
        SELECT n.name, coalesce((SELECT max(c.size) FROM audit_cosig AS c WHERE c.witness = n.name), 0) AS size
        FROM unnest(%(names)s::text[]) AS n (name) WHERE n.name <> ALL(%(forged)s)
        UNION ALL SELECT f.name, 0 FROM unnest(%(forged)s::text[]) AS f (name)
    ), all_of_them AS (SELECT coalesce(min(r.size), 0) AS size FROM reached AS r), first AS (
        SELECT c.created_at FROM audit_checkpoint AS c, all_of_them AS a WHERE c.size > a.size ORDER BY c.size LIMIT 1
    )
    SELECT a.size, f.created_at, extract(epoch FROM clock_timestamp() - f.created_at)::float,
           (SELECT array_agg(r.name ORDER BY r.name) FROM reached AS r WHERE r.size = a.size),
           (SELECT json_object_agg(r.name, (SELECT k.note || s.note_line FROM audit_cosig AS s
                                            JOIN audit_checkpoint AS k ON k.size = s.size
                                            WHERE s.witness = r.name AND s.size = r.size)) FROM reached AS r)
    FROM all_of_them AS a LEFT JOIN first AS f ON true
"""


class Told:
    """A state with a ``sentence`` that says what is wrong and what to do, empty while nothing is."""

    sentence: Any

    @property
    def sentences(self) -> list[str]:
        return [self.sentence] if self.sentence else []


@dataclass(frozen=True)
class Lag(Told):
    """``seconds``: age of the oldest committed event without a leaf; ``waiting``: how many there are. ``holder``: whose
    open transaction makes them wait, where one does and it is time for an alarm: pid (None for a prepared transaction),
    login, program, database, state and since (None where this login may not see it)."""

    seconds: float
    waiting: int
    holder: dict[str, Any] | None = None

    @property
    def alarm(self) -> bool:
        return self.seconds > settings.LASTGOOD_LAG_ALARM_SECONDS

    @property
    def sentence(self) -> str:
        """What is wrong and what to do; empty while nothing is."""
        if not self.alarm:
            return ""
        waits = f"{self.waiting:,} events wait for their leaf, the oldest for {self.seconds:.0f} s"
        if self.holder is None:
            return f"{waits}. Look whether the sequencer runs (manage.py audit sequence)."
        who = f"login {self.holder['login']}, program {self.holder['program']}, database {self.holder['database']}"
        if self.holder["pid"] is None:
            return f"{waits}: a {self.holder['program']} of {self.holder['login']} is not ended. End it."
        since = f" since {self.holder['since']:%H:%M:%S} UTC" if self.holder["since"] else ""
        state = f"{self.holder['state']}{since}"
        end = f"SELECT pg_terminate_backend({self.holder['pid']})"
        return f"{waits}: backend {self.holder['pid']} ({who}; {state}) holds them back. To end it: {end}."


@dataclass(frozen=True)
class SequencerState(Told):
    """What the sequencer last said of itself. ``refused``: why it does not sign, empty while it does."""

    seen_at: datetime.datetime
    seen_seconds: float
    refused: str
    refused_at: datetime.datetime | None
    rehashed_at: datetime.datetime | None
    rehashed_size: int
    rehash_next: int
    rehash_size: int
    missing: str

    @property
    def sentences(self) -> list[str]:
        """Its refusal, and what the log's protection lacks."""
        return [*super().sentences, *self.missing.splitlines()]

    @property
    def sentence(self) -> str:
        if not self.refused:
            return ""
        return f"The sequencer refuses to sign since {self.refused_at:%Y-%m-%d %H:%M:%S} UTC: {self.refused}"


@dataclass(frozen=True)
class Witnessed(Told):
    """Up to which ``size`` every configured witness has cosigned, and which of them not beyond. ``since``: when the
    first checkpoint beyond that was signed; None where there is none."""

    since: datetime.datetime | None
    size: int
    behind: list[str]
    configured: list[str]
    seconds: float = 0.0
    forged: list[str] = field(default_factory=list)
    """Witnesses whose newest signature that is kept here is none of theirs."""

    @property
    def alarm(self) -> bool:
        late = self.seconds > settings.LASTGOOD_WITNESS_ALARM_SECONDS
        return bool(self.configured) and (late or bool(self.forged))

    @property
    def sentence(self) -> str:
        if not self.alarm:
            return ""
        if self.forged:
            return (
                f"A signature that is kept as that of {', '.join(self.forged)} is not theirs: somebody has written it "
                "here, or the witness has a new key. Look at the witness's own program, and at LASTGOOD_WITNESSES."
            )
        return (
            f"Unwitnessed since {self.since:%Y-%m-%d %H:%M:%S} UTC: {', '.join(self.behind)} did not cosign beyond "
            f"{self.size:,} leaves. Look at the witness's own program; it may have found a second history."
        )


def lag() -> Lag:
    """How long events wait for their leaf, and because of whom. Two queries, and a third where that is too long."""
    with connection.cursor() as cursor:
        cursor.execute(SIGNED)
        xid, event_id = cursor.fetchone() or (0, 0)
        cursor.execute(WAITING, [str(xid), event_id])
        seconds, waiting, blocked = cursor.fetchone()
        found = Lag(max(seconds, 0.0), waiting)
        if not (found.alarm and blocked):
            return found
        cursor.execute(HOLDER)
        row = cursor.fetchone()
    if row is None:
        return found
    names = ("pid", "login", "program", "database", "state", "since")
    holder = dict(zip(names, row, strict=True))
    return Lag(found.seconds, waiting, holder | {"state": holder["state"] or NOT_SHOWN})


def sequencer_state() -> SequencerState | None:
    """None before a sequencer ever ran on this database."""
    with connection.cursor() as cursor:
        cursor.execute(SEQUENCER)
        row = cursor.fetchone()
    return SequencerState(*row) if row else None


def witness_keys() -> dict[str, list[str]]:
    """The keys of LASTGOOD_WITNESSES by the witness's name: one that has a new key keeps its old one beside it."""
    keys: dict[str, list[str]] = {}
    for vkey in settings.LASTGOOD_WITNESSES:
        keys.setdefault(parse_vkey(vkey)[0], []).append(vkey)
    return keys


def witnessed() -> Witnessed:
    """What the witnesses of LASTGOOD_WITNESSES have seen. A signature counts if it opens by a key of that witness: this
    process may write such rows itself."""
    keys = witness_keys()
    forged: list[str] = []
    with connection.cursor() as cursor:
        while True:
            cursor.execute(WITNESSED, {"names": list(keys), "forged": forged})
            size, since, seconds, behind, notes = cursor.fetchone()
            found = [name for name, note in (notes or {}).items() if note and not signed_by(note, keys[name])]
            if not found:
                return Witnessed(since, size, behind or [], list(keys), max(seconds or 0.0, 0.0), forged)
            forged = sorted({*forged, *found})


def signed_by(note: str, keys: Iterable[str]) -> bool:
    """Whether the note opens by one of the keys."""
    for vkey in keys:
        with suppress(ValueError):
            open_note(note, vkey)
            return True
    return False


_owed: list[Callable[[], list[str]]] = []


def register_owed(source: Callable[[], list[str]]) -> None:
    """Have a floor above say, in sentences, which reports to authorities are soon due, or overdue."""
    if source not in _owed:
        _owed.append(source)


def owed() -> list[str]:
    """What the floors above say of reports that are soon due, or overdue."""
    return [sentence for source in _owed for sentence in source()]


def alarms(*parts: Told | None) -> list[str]:
    """The sentences of those that are not well."""
    return [sentence for part in parts if part is not None for sentence in part.sentences]
