"""The one verb of the log, ``record``, and the few things that people do with the log itself."""

import datetime
import hashlib
import hmac
import re
import secrets
import sys
import uuid
from collections.abc import Iterator, Sequence
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
INSERT = f"INSERT INTO audit_event ({', '.join(COLUMNS)}) VALUES"
ROW = f"({', '.join('%s' for _ in COLUMNS)})"
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
    (event,) = record_each(
        action=action,
        actor=actor,
        each=[(target, data or {}, reason)],
        incident=incident,
        outcome=outcome,
        correlation=correlation,
        subject=subject,
    )
    return event


def record_each(
    *,
    action: str,
    actor: Actor,
    each: Sequence[tuple[Target, dict[str, Any], str]],
    incident: str = "",
    outcome: str = "success",
    correlation: dict[str, Any] | None = None,
    subject: str = "",
) -> list[AuditEvent]:
    """``record`` for things of one kind that happen together: an event for each target with its data and reason, in
    their order, written in as few statements as one event takes. Raises as ``record`` does, and then keeps none."""
    if not each:
        return []
    with transaction.atomic(savepoint=False):
        for target, _, reason in each:
            _check(action, target, actor, outcome)
            if len(reason) > MAX_REASON:
                raise RecordError(f"The reason has {len(reason)} characters; at most {MAX_REASON} fit. Say it shorter.")
        moment, newest = _moment_and_number(incident, len(each))
        keys = [secrets.token_bytes(32) for _ in each]
        alike = _alike(action, outcome, actor, moment, correlation)
        events = []
        for at, ((target, data, reason), key) in enumerate(zip(each, keys, strict=True)):
            own: dict[str, Any] = {
                "target": {"kind": target.kind, "id": target.id, "version": target.version},
                "data": data,
            }
            if newest is not None:
                own |= {"incident": incident, "incident_seq": newest - len(each) + 1 + at}
            if reason:
                own["reason_commit"] = reason_commitment(key, reason)
            events.append(_event(alike | own, moment))
        _insert(events)
        texts = [(event, key, one[2]) for event, key, one in zip(events, keys, each, strict=True) if one[2]]
        _seal(texts, subject or _under.get().get("said_by", ""), actor)
    return events


def _alike(
    action: str, outcome: str, actor: Actor, moment: datetime.datetime, correlation: dict[str, Any] | None
) -> dict[str, Any]:
    """What the bodies of events that are recorded together have in common."""
    alike: dict[str, Any] = {
        "v": RECORD_VERSION,
        "log_origin": log_origin(),
        "occurred_at": instant(moment),
        "recorded_by": _recorded_by(),
        "action": action,
        "outcome": str(outcome),
        "actor": {"kind": actor.kind, "id": actor.id, "auth": actor.auth},
    }
    if correlated := {**_under.get(), **(correlation or {})}:
        alike["correlation"] = correlated
    return alike


def _event(body: dict[str, Any], moment: datetime.datetime) -> AuditEvent:
    event_uuid, target = uuid.uuid4(), body["target"]
    return AuditEvent(
        event_uuid=event_uuid,
        canon=_canon(body | {"event_id": str(event_uuid)}),
        occurred_at=moment,
        action=body["action"],
        outcome=body["outcome"],
        actor_kind=body["actor"]["kind"],
        actor=body["actor"]["id"],
        target_kind=target["kind"],
        target_id=target["id"],
        target_version=target["version"],
        incident=body.get("incident", ""),
        incident_seq=body.get("incident_seq"),
    )


def _seal(texts: list[tuple[AuditEvent, bytes, str]], subject: str, actor: Actor) -> None:
    """Keep the free texts of events that were just inserted; without `subject` they are the actor's own."""
    if texts and not private.seal(texts, subject=subject or actor.id) and not subject and actor.kind in PEOPLE:
        raise WriterErased(f"{actor.id} was erased, so nothing more is written in their name.")


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


def _moment_and_number(incident: str, count: int) -> tuple[datetime.datetime, int | None]:
    """The database's clock, and the last of the incident's next so many numbers, taken under its counter's row lock."""
    with connection.cursor() as cursor:
        if not incident:
            cursor.execute("SELECT clock_timestamp(), NULL")
        else:
            cursor.execute(
                "INSERT INTO audit_incident_counter AS c (incident, last) VALUES (%s, %s) "
                "ON CONFLICT (incident) DO UPDATE SET last = c.last + excluded.last "
                "RETURNING clock_timestamp(), c.last",
                [incident, count],
            )
        moment, number = cursor.fetchone()
    return moment, number


def _insert(events: Sequence[AuditEvent]) -> None:
    """What ``bulk_create`` does, but with the statement composed once: that was a sixth of an event's processor
    time."""
    rows = ", ".join([ROW] * len(events))
    with connection.cursor() as cursor:
        cursor.execute(f"{INSERT} {rows} RETURNING id", [getattr(one, name) for one in events for name in COLUMNS])
        numbers = cursor.fetchall()
    for event, (number,) in zip(events, numbers, strict=True):
        event.pk = number
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
