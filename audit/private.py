"""The free texts that stand beside the log, sealed under the key of the person who wrote them: putting in, reading."""

from collections.abc import Iterable

from audit.models import AuditEvent, AuditPrivate, AuditSubjectKey
from audit.sealing import new_wrapped_key, open_text, seal_text

SELECT = "private__subject"
"""For `select_related` on events: what `text_of` needs, in the same query."""


def seal(*, event: AuditEvent, subject: str, key: bytes, text: str) -> AuditPrivate | None:
    """Keep the text of an event, with its commitment's key, under the subject's data key, which is made at first use.

    None, and nothing is kept, for a subject that was erased: whose key is destroyed gets no new one.
    """
    owner = AuditSubjectKey.objects.filter(pk=subject).first()
    if owner is None:
        made = AuditSubjectKey(subject=subject, wrapped=new_wrapped_key(subject))
        AuditSubjectKey.objects.bulk_create([made], ignore_conflicts=True)
        owner = AuditSubjectKey.objects.get(pk=subject)
    if owner.wrapped is None:
        return None
    sealed = seal_text(event_id=event.pk, subject=subject, wrapped=bytes(owner.wrapped), key=key, text=text)
    return AuditPrivate.objects.create(event=event, subject=owner, sealed=sealed)


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
