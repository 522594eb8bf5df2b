"""The one verb of the log, ``record``, and the few things that people do with the log itself."""

import datetime
import hashlib
import hmac
import re
import secrets
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction

from audit import private
from audit.canonical import CanonicalError, canonical_bytes, exact, instant
from audit.models import MAX_CANON_BYTES, AuditCheckpoint, AuditCosignature, AuditEvent, Outcome
from audit.verify import open_note, parse_vkey

RECORD_VERSION = 1
MAX_REASON = 20_000
DEFAULT_ORIGIN = "lastgood.local/log"
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""NUL as canonical JSON writes it, and not the same six characters after a backslash of the text. PostgreSQL keeps it
in no text, nor in a record that it reads as JSON."""
COLUMNS = [str(field.column) for field in AuditEvent._meta.concrete_fields if field.column not in ("id", "xid")]
INSERT = f"INSERT INTO audit_event ({', '.join(COLUMNS)}) VALUES ({', '.join('%s' for _ in COLUMNS)}) RETURNING id"  # noqa: S608
ACTION_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class RecordError(ValueError):
    """The event cannot be recorded, so the action must not happen. The message names the field."""


class WriterErased(RecordError, PermissionDenied):
    """The person whose words these are was erased meanwhile; a page answers 403."""


class CosignatureRefused(ValueError):
    """The cosignature is not kept; the message says why."""


@dataclass(frozen=True)
class Actor:
    """Who acts. ``kind``: user, token, service or anonymous. ``id``: a pseudonym such as ``u-3f9c`` or ``svc:worker``,
    never a name or an e-mail address. ``auth``: how and when that was proved (method, auth_time, token prefix)."""

    kind: str
    id: str
    auth: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What is acted upon: kind of object, its public id, and its version where it has one."""

    kind: str
    id: str
    version: str = ""


_under: ContextVar[dict[str, str]] = ContextVar("under", default={})  # noqa: B039  never changed, only replaced


@contextmanager
def under(**ids: str) -> Iterator[None]:
    """Have everything that is recorded within the block carry these ids in its ``correlation``: ``under(act=...)``.

    ``said_by`` is the pseudonym of the person whose words a program repeats there as reasons: they are sealed under the
    key of that person, so that they are erased with what else the person wrote.
    """
    token = _under.set({**_under.get(), **ids})
    try:
        yield
    finally:
        _under.reset(token)


PEOPLE = ("user", "token")
ACTOR_KINDS = ("user", "token", "service", "anonymous")
ANONYMOUS = Actor("anonymous", "anonymous")


def service_actor(name: str) -> Actor:
    """The actor of a program of our own, such as ``service_actor("worker")``."""
    return Actor("service", f"svc:{name}")


def record(
    *,
    action: str,
    target: Target,
    actor: Actor,
    data: dict[str, Any] | None = None,
    reason: str = "",
    incident: str = "",
    outcome: str = "success",
    correlation: dict[str, Any] | None = None,
    subject: str = "",
) -> AuditEvent:
    """Insert one immutable event in the caller's transaction (in one of its own when there is none).

    ``action`` is dotted, noun first: ``approval.decide``. ``data`` and ``correlation`` are JSON without floats.
    ``reason`` is free text, sealed in an erasable row under the key of ``subject`` (a pseudonym: whom it is about; else
    that of ``under(said_by=...)``, else the actor's); the record holds HMAC-SHA256 of it. ``incident`` is the
    incident's reference; the event then takes the incident's next gapless number, whose lock is held until commit.

    Raises RecordError when the event is malformed, holds what canonical JSON cannot, or is longer than 65,535 bytes,
    and WriterErased for the words of a person who was erased: a copy of them may stand in the caller's rows. The
    caller's transaction is then marked for rollback.
    """
    with transaction.atomic(savepoint=False):
        _check(action, target, actor, outcome)
        if len(reason) > MAX_REASON:
            raise RecordError(f"The reason has {len(reason)} characters; at most {MAX_REASON} fit. Say it shorter.")
        moment, incident_seq = _moment_and_number(incident)
        event_uuid = uuid.uuid4()
        body: dict[str, Any] = {
            "v": RECORD_VERSION,
            "log_origin": log_origin(),
            "event_id": str(event_uuid),
            "occurred_at": instant(moment),
            "recorded_by": _recorded_by(),
            "action": action,
            "outcome": str(outcome),
            "actor": {"kind": actor.kind, "id": actor.id, "auth": actor.auth},
            "target": {"kind": target.kind, "id": target.id, "version": target.version},
            "data": data or {},
        }
        if incident:
            body |= {"incident": incident, "incident_seq": incident_seq}
        if correlated := {**_under.get(), **(correlation or {})}:
            body["correlation"] = correlated
        subject = subject or _under.get().get("said_by", "")
        key = secrets.token_bytes(32)
        if reason:
            body["reason_commit"] = reason_commitment(key, reason)
        event = AuditEvent(
            event_uuid=event_uuid,
            canon=_canon(body),
            occurred_at=moment,
            action=action,
            outcome=str(outcome),
            actor_kind=actor.kind,
            actor=actor.id,
            target_kind=target.kind,
            target_id=target.id,
            target_version=target.version,
            incident=incident,
            incident_seq=incident_seq,
        )
        _insert(event)
        if reason:
            kept = private.seal(event=event, subject=subject or actor.id, key=key, text=reason)
            if kept is None and not subject and actor.kind in PEOPLE:
                raise WriterErased(f"{actor.id} was erased, so nothing more is written in their name.")
    return event


def record_export(*, manifest: str, events: int, size: int, scope: dict[str, str], actor: Actor) -> AuditEvent:
    """That a bundle left the house: the SHA-256 (hex) of its manifest, its number of events, the size of the tree that
    they were taken from, and what it is of. The record is the bundle's receipt once it is in the tree."""
    return record(
        action="audit.export",
        target=Target("audit_log", log_origin()),
        actor=actor,
        data={"manifest": manifest, "events": events, "size": size, "scope": scope},
    )


def record_view_export(*, view: str, sha256: str, rows: int, asked: dict[str, str], actor: Actor) -> AuditEvent:
    """That a table of an auditors' page left the house: which, the file's SHA-256 (hex), its rows, what was asked."""
    return record(
        action="audit.view.export",
        target=Target("audit_view", view),
        actor=actor,
        data={"sha256": sha256, "rows": rows, "asked": asked},
    )


def record_cosignature(*, size: int, note_line: str) -> tuple[AuditCosignature, bool]:
    """Keep a witness's signature over the checkpoint of that size; returns it, and whether it is new.

    It is no event: an event would be a leaf, the leaf would make a checkpoint, and the checkpoint would want a
    signature. Raises CosignatureRefused unless a witness of LASTGOOD_WITNESSES signed that very checkpoint.
    """
    checkpoint = AuditCheckpoint.objects.filter(size=size).first()
    if checkpoint is None:
        raise CosignatureRefused(f"No checkpoint was signed at {size} leaves.")
    if not note_line.startswith("\u2014 ") or note_line.count("\n") != 1 or not note_line.endswith("\n"):
        raise CosignatureRefused("A cosignature is one line of a signed note, with its newline.")
    for vkey in settings.LASTGOOD_WITNESSES:
        try:
            open_note(checkpoint.note + note_line, vkey)
        except ValueError:
            continue
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return AuditCosignature.objects.get_or_create(
                checkpoint=checkpoint,
                witness=parse_vkey(vkey)[0],
                defaults={"note_line": note_line, "created_at": cursor.fetchone()[0]},
            )
    raise CosignatureRefused("No witness of LASTGOOD_WITNESSES signed that checkpoint so.")


def record_refused_reading(*, actor: Actor, permission: str, path: str) -> AuditEvent:
    """That somebody without the right asked for the log; the address, which may hold anything, as erasable text."""
    return record(
        action="access.deny",
        target=Target("permission", permission),
        actor=actor,
        outcome="denied",
        reason=path[:300],
    )


def reason_commitment(key: bytes, text: str) -> str:
    """``hmac-sha256:<hex>`` of the UTF-8 text under the event's own random key."""
    return "hmac-sha256:" + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def log_origin() -> str:
    """The log's name, as its checkpoints state it: setting LASTGOOD_LOG_ORIGIN."""
    return str(getattr(settings, "LASTGOOD_LOG_ORIGIN", DEFAULT_ORIGIN))


def _check(action: str, target: Target, actor: Actor, outcome: str) -> None:
    if not ACTION_NAME.fullmatch(action) or len(action) > 80:
        raise RecordError(f"The action {action!r} is not a dotted name such as approval.decide.")
    if actor.kind not in ACTOR_KINDS or not actor.id:
        raise RecordError(f"The actor {actor.kind!r} {actor.id!r} is none of {', '.join(ACTOR_KINDS)} with an id.")
    if "@" in actor.id:
        raise RecordError("The actor's id looks like an e-mail address; a record holds pseudonyms only.")
    if not target.kind or not target.id:
        raise RecordError("The target needs a kind and an id.")
    if outcome not in Outcome.values:
        raise RecordError(f"The outcome {outcome!r} is none of {', '.join(Outcome.values)}.")


def _moment_and_number(incident: str) -> tuple[datetime.datetime, int | None]:
    """The database's clock, and the incident's next number, taken under its counter's row lock."""
    with connection.cursor() as cursor:
        if not incident:
            cursor.execute("SELECT clock_timestamp(), NULL")
        else:
            cursor.execute(
                "INSERT INTO audit_incident_counter AS c (incident, last) VALUES (%s, 1) "
                "ON CONFLICT (incident) DO UPDATE SET last = c.last + 1 RETURNING clock_timestamp(), c.last",
                [incident],
            )
        moment, number = cursor.fetchone()
    return moment, number


def _insert(event: AuditEvent) -> None:
    """What ``save`` does, but with the statement composed once: that was a sixth of an event's processor time."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [getattr(event, column) for column in COLUMNS])
        (event.pk,) = cursor.fetchone()
    event._state.adding, event._state.db = False, connection.alias


def _canon(body: dict[str, Any]) -> bytes:
    try:
        canon = canonical_bytes(exact(body, "record"))
    except CanonicalError as error:
        raise RecordError(str(error)) from error
    if NUL.search(canon):
        raise RecordError("The record holds the character NUL, which the database keeps in no text. Leave it out.")
    if len(canon) > MAX_CANON_BYTES:
        raise RecordError(
            f"The record is {len(canon)} bytes long; at most {MAX_CANON_BYTES} fit. "
            "Store what is large as a file and record its SHA-256."
        )
    return canon


def _recorded_by() -> str:
    """Database login and program, so that a record written by another login or program shows."""
    login = str(connection.settings_dict.get("USER", ""))
    program = connection.settings_dict.get("OPTIONS", {}).get("application_name") or Path(sys.argv[0]).name
    return f"{login}/{program}"
