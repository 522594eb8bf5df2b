"""The free texts that stand beside the log, sealed under the key of the person who wrote them: putting in, reading."""

from collections.abc import Iterable, Sequence

from django.db import connection

from audit.models import AuditEvent, AuditPrivate, AuditSubjectKey
from audit.sealing import new_wrapped_key, open_text, seal_text

# As an insert into audit_private does for its reference; an erasure waits for it, and it for an erasure.
HOLD_KEY = "SELECT k.wrapped FROM audit_subject_key AS k WHERE k.subject = %s FOR KEY SHARE"

SELECT = "private__subject"
"""For `select_related` on events: what `text_of` needs, in the same query."""


def seal(texts: Sequence[tuple[AuditEvent, bytes, str]], *, subject: str) -> list[AuditPrivate]:
    """Keep the texts of events, each with its commitment's key, under the subject's data key, which is made at first
    use.

    Nothing is kept, and the list is empty, for a subject that was erased: whose key is destroyed gets no new one.
    """
    held = _held_key(subject)
    if not held:
        made = AuditSubjectKey(subject=subject, wrapped=new_wrapped_key(subject))
        AuditSubjectKey.objects.bulk_create([made], ignore_conflicts=True)
        held = _held_key(subject)
    wrapped = held[0][0]
    if wrapped is None:
        return []
    return AuditPrivate.objects.bulk_create(
        AuditPrivate(
            event=event,
            subject_id=subject,
            sealed=seal_text(event_id=event.pk, subject=subject, wrapped=bytes(wrapped), key=key, text=text),
        )
        for event, key, text in texts
    )


def _held_key(subject: str) -> list[tuple[bytes | None]]:
    """The wrapped key, which nobody destroys until the caller's transaction ends; empty where none was made."""
    with connection.cursor() as cursor:
        cursor.execute(HOLD_KEY, [subject])
        rows: list[tuple[bytes | None]] = cursor.fetchall()
    return rows


def text_of(event: AuditEvent) -> str | None:
    """The text of an event; None where it has none, it was erased, or the person who wrote it was."""
    private: AuditPrivate | None = getattr(event, "private", None)
    opened = private.opened() if private else None
    return opened[1] if opened else None


def texts(event_ids: Iterable[int]) -> dict[int, tuple[bytes, str]]:
    """Key of the commitment and text of each of the events that still has them, in one query."""
    rows = AuditPrivate.objects.filter(pk__in=list(event_ids), subject__erased_at=None).select_related("subject")
    return {row.event_id: opened for row in rows if (opened := row.opened())}


def open_row(event_id: int, subject: str, wrapped: bytes | None, sealed: bytes) -> tuple[bytes, str] | None:
    """`texts` for who reads the two tables by a statement of their own: audit_private.sealed and .subject, and
    audit_subject_key.wrapped of that subject."""
    return open_text(event_id=event_id, subject=subject, wrapped=wrapped, sealed=sealed)
