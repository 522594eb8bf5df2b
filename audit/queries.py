"""Reads of the log: timelines, its state, and proofs. Searching is in audit/search.py."""

import datetime
import json
import os
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import DateTimeField, Func, Q
from django.utils.translation import gettext

from audit import private
from audit.merkle import EMPTY_ROOT, RangeHash, consistency_proof, inclusion_proof
from audit.models import AuditCheckpoint, AuditEvent, AuditIncidentCounter, AuditLeaf, AuditLogKey
from audit.tree import StoredTree
from audit.verify import node_hash, open_note
from audit.watch import Lag, SequencerState, Witnessed, alarms, lag, owed, sequencer_state, witnessed

LISTED = ("action", "actor", "incident", "target_kind")
LISTING = """
    WITH RECURSIVE v AS (
        (SELECT e.{column} AS value FROM audit_event AS e WHERE e.{column} > '' ORDER BY e.{column} LIMIT 1)
        UNION ALL
        SELECT (SELECT e.{column} FROM audit_event AS e WHERE e.{column} > v.value ORDER BY e.{column} LIMIT 1)
        FROM v WHERE v.value IS NOT NULL
    ) SELECT v.value FROM v WHERE v.value IS NOT NULL LIMIT %s
"""
RIGHTS = """
    SELECT has_table_privilege('audit_event', 'UPDATE') OR has_table_privilege('audit_event', 'DELETE')
        OR has_table_privilege('audit_event', 'TRUNCATE') OR has_table_privilege('audit_leaf', 'INSERT')
        OR pg_has_role(c.relowner, 'USAGE')
    FROM pg_class AS c WHERE c.oid = 'audit_event'::regclass
"""


@dataclass(frozen=True)
class TimelineEntry:
    """One event of an incident as its readers see it. ``seq`` is the incident's own gapless number."""

    seq: int
    occurred_at: datetime.datetime
    action: str
    actor: str
    actor_kind: str
    target: str
    target_kind: str
    target_version: str
    data: dict[str, Any]
    reason: str
    outcome: str
    leaf_index: int | None
    event_uuid: uuid.UUID


@dataclass(frozen=True)
class LogStatus:
    """The state of the log. ``lag_seconds`` is the age of the oldest event without a leaf, in seconds. ``alarms`` are
    sentences that say what is wrong and what to do."""

    tree_size: int
    root: str
    checkpoint_at: datetime.datetime | None
    checkpoint_age_seconds: float
    separated: bool
    signed: bool
    vkey: str
    lag: Lag
    sequencer: SequencerState | None
    witnessed: Witnessed
    owed: list[str] = field(default_factory=list)
    """Reports to authorities that are soon due, or overdue, a sentence each."""

    @property
    def lag_events(self) -> int:
        return self.lag.waiting

    @property
    def lag_seconds(self) -> float:
        return self.lag.seconds

    @property
    def alarms(self) -> list[str]:
        return [*self.log_alarms, *self.owed]

    @property
    def log_alarms(self) -> list[str]:
        """Those that are about the log itself."""
        return alarms(self.sequencer, self.lag, self.witnessed)

    @property
    def events(self) -> int:
        return self.tree_size + self.lag_events

    @property
    def healthy(self) -> bool:
        """Signed, by a sequencer that does not refuse to go on, and nothing waits too long for its leaf."""
        refused = self.sequencer is not None and bool(self.sequencer.refused)
        return (self.signed or not self.events) and not self.lag.alarm and not refused


@dataclass(frozen=True)
class ProofStep:
    """A neighbour on the way up: on which side it stands, its hash, and the hash of the two together (hex)."""

    side: str
    hash: str
    result: str


@dataclass(frozen=True)
class Inclusion:
    """That a leaf is in the tree of ``tree_size`` leaves with ``root``. Hashes are lowercase hex, lowest first."""

    leaf_index: int
    leaf_hash: str
    tree_size: int
    root: str
    hashes: list[str] = field(default_factory=list)
    path: list[ProofStep] = field(default_factory=list)


def timeline(
    incident: str, *, newest: int | None = None, before: int | None = None, only: Q | None = None
) -> list[TimelineEntry]:
    """All events of an incident in the order of their numbers, in one query; only the `newest` ones where that is
    given, of those with a number below `before`, and of those that match `only` (a condition on AuditEvent)."""
    rows = (
        AuditEvent.objects.filter(only or Q(), incident=incident)
        .select_related("leaf", private.SELECT)
        .order_by("incident_seq")
    )
    if before is not None:
        rows = rows.filter(incident_seq__lt=before)
    found = rows if newest is None else reversed(rows.reverse()[:newest])
    return [_entry(event) for event in found]


def newest_seq(incident: str) -> int:
    """The number of the incident's last event; 0 before the first."""
    counter = AuditIncidentCounter.objects.filter(incident=incident).values_list("last", flat=True).first()
    return counter or 0


def _entry(event: AuditEvent) -> TimelineEntry:
    leaf: AuditLeaf | None = getattr(event, "leaf", None)
    return TimelineEntry(
        seq=event.incident_seq or 0,
        occurred_at=event.occurred_at,
        action=event.action,
        actor=event.actor,
        actor_kind=event.actor_kind,
        target=event.target_id,
        target_kind=event.target_kind,
        target_version=event.target_version,
        data=record_of(event)["data"],
        reason=reason_of(event),
        outcome=event.outcome,
        leaf_index=leaf.leaf_index if leaf else None,
        event_uuid=event.event_uuid,
    )


def record_of(event: AuditEvent) -> dict[str, Any]:
    """The record as it was written, from its canonical bytes."""
    record: dict[str, Any] = json.loads(bytes(event.canon))
    return record


def reason_of(event: AuditEvent) -> str:
    """The free text of an event; empty when it has none or it was erased."""
    return private.text_of(event) or ""


def listed(column: str, most: int = 200) -> list[str]:
    """The distinct values of one of ``LISTED``, by skipping through the table's index. Raises KeyError for others."""
    if column not in LISTED:
        raise KeyError(column)
    with connection.cursor() as cursor:
        cursor.execute(LISTING.format(column=column), [most])
        return [row[0] for row in cursor.fetchall()]


def status() -> LogStatus:
    """How many events are in the tree, how fresh and by whom its last checkpoint is, and whether the keys are apart."""
    now = Func(function="clock_timestamp", output_field=DateTimeField())
    last = AuditCheckpoint.objects.annotate(now=now).order_by("-size").first()
    vkey = _signing_key(last) if last else ""
    return LogStatus(
        tree_size=last.size if last else 0,
        root=(bytes(last.root) if last else EMPTY_ROOT).hex(),
        checkpoint_at=last.created_at if last else None,
        checkpoint_age_seconds=(last.now - last.created_at).total_seconds() if last else 0.0,
        separated=separated(),
        signed=bool(vkey),
        vkey=vkey,
        lag=lag(),
        sequencer=sequencer_state(),
        witnessed=witnessed(),
        owed=owed(),
    )


def _signing_key(checkpoint: AuditCheckpoint) -> str:
    """The known public key that signed a checkpoint; empty when none did."""
    for key in AuditLogKey.objects.order_by("-first_used_at"):
        try:
            open_note(checkpoint.note, key.vkey)
        except ValueError:
            continue
        return str(key.vkey)
    return ""


def separated() -> bool:
    """Whether this process could neither change the log nor sign it: its database login has no such right, and it can
    read neither the signing key nor the other logins' passwords."""
    secrets_dir = settings.LASTGOOD_VAR / "secrets"
    key_file = settings.LASTGOOD_LOG_KEY_FILE
    reachable = os.access(secrets_dir, os.R_OK | os.X_OK) or bool(key_file and os.access(key_file, os.R_OK))
    with connection.cursor() as cursor:
        cursor.execute(RIGHTS)
        powerful: bool = cursor.fetchone()[0]
    return not powerful and not reachable


def checkpoint_at(size: int | None = None) -> AuditCheckpoint | None:
    """The checkpoint of that size, or the last one."""
    found = AuditCheckpoint.objects.order_by("-size")
    return (found if size is None else found.filter(size=size)).first()


def note_of(checkpoint: AuditCheckpoint) -> str:
    """The checkpoint's note as it is given out: signed by the log, then by each witness that has cosigned it."""
    return checkpoint.note + "".join(one.note_line for one in checkpoint.cosignatures.all())


def inclusion(event_id: int, size: int | None = None) -> Inclusion | None:
    """The proof that an event is in the last checkpoint's tree (or that of ``size``); None while it is not."""
    leaf = AuditLeaf.objects.filter(event_id=event_id).first()
    checkpoint = checkpoint_at(size)
    if leaf is None or checkpoint is None or leaf.leaf_index >= checkpoint.size:
        return None
    hashes = inclusion_proof(leaf.leaf_index, checkpoint.size, range_hash())
    leaf_hash = bytes(leaf.leaf_hash)
    return Inclusion(
        leaf_index=leaf.leaf_index,
        leaf_hash=leaf_hash.hex(),
        tree_size=checkpoint.size,
        root=bytes(checkpoint.root).hex(),
        hashes=[one.hex() for one in hashes],
        path=proof_steps(leaf.leaf_index, checkpoint.size, leaf_hash, hashes),
    )


def proof_steps(index: int, size: int, value: bytes, hashes: list[bytes]) -> list[ProofStep]:
    """The proof as steps, for people: which side each neighbour stands on and what comes out."""
    steps, last = [], size - 1
    for sibling in hashes:
        while not index & 1 and index == last and index:
            index, last = index >> 1, last >> 1
        left = bool(index & 1)
        value = node_hash(sibling, value) if left else node_hash(value, sibling)
        steps.append(ProofStep("left" if left else "right", sibling.hex(), value.hex()))
        index, last = index >> 1, last >> 1
    return steps


def consistency(old: int, new: int) -> list[str]:
    """The proof (hex) that the tree of ``new`` leaves extends that of ``old``. Raises ValueError when there is none."""
    newest = checkpoint_at()
    held = newest.size if newest else 0
    if new > held:
        raise ValueError(gettext("The tree has %(held)s leaves, not %(asked)s.") % {"held": held, "asked": new})
    return [one.hex() for one in consistency_proof(old, new, range_hash())]


def range_hash() -> RangeHash:
    """Subtree hashes from the stored tree; what was read once is not read again."""
    return StoredTree().range_hash
