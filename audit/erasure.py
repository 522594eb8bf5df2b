"""What is done with the sealed texts: one is revealed, a person is erased, the seal key is changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.holds import Held, hold_on_event, hold_on_subject, settle
from audit.models import AuditEvent, AuditPrivate, AuditSubjectKey
from audit.private import SELECT, text_of
from audit.queries import record_of
from audit.sealing import KeyRing, add_key, key_ring

MOST_WRAPPED_AT_ONCE = 1000
ERASED = "[erased]"


@dataclass(frozen=True)
class Written:
    """A text of the person who is erased, and the event that it stands beside."""

    event: AuditEvent
    text: str

    @property
    def row(self) -> UUID | None:
        """The event's target where that is a row with such a key; None for what is named otherwise."""
        try:
            return UUID(self.event.target_id)
        except ValueError:
            return None


Eraser = Callable[[str, Sequence[Written]], dict[str, int]]
"""Takes a pseudonym and what this person wrote (or an empty one, and the text of one event), puts ERASED for it in an
app's own rows, in the caller's transaction, and returns how many rows of which table it changed."""

_erasers: list[Eraser] = []


class NothingSealed(ValueError):
    """There is no text to reveal; the message says why."""


class AlreadyErased(ValueError):
    """The person was erased before."""


@dataclass(frozen=True)
class Erased:
    """What an erasure reached: sealed texts that can't be opened any more, and changed rows by table."""

    texts: int
    rows: dict[str, int]


def register_eraser(eraser: Eraser) -> None:
    """Have `eraser` called when a person is erased; for ``AppConfig.ready`` of the floors above."""
    if eraser not in _erasers:
        _erasers.append(eraser)


@transaction.atomic
def reveal(*, event: AuditEvent, actor: Actor, reason: str) -> str:
    """The sealed text of an event, for a reader who says why; the reading is on record before the text is out.

    Raises ValueError without a reason, NothingSealed where there is no text.
    """
    if not reason.strip():
        raise ValueError(gettext("Say in a sentence why you read the text. Your reason is recorded."))
    text = text_of(event)
    if text is None:
        committed = "reason_commit" in record_of(event)
        raise NothingSealed(
            gettext("The text was erased. The record still holds the commitment that was made to it.")
            if committed
            else gettext("Nobody wrote a text for this event.")
        )
    record(
        action="private.reveal",
        target=Target("audit_event", str(event.event_uuid)),
        actor=actor,
        data={"subject": event.private.subject_id, "incident": event.incident},
        reason=reason.strip(),
    )
    return text


@transaction.atomic
def erase_reason(*, event: AuditEvent, actor: Actor, reason: str) -> bool:
    """Delete the free text of one event with its key, take it out of other rows, and record that it was. False when
    there was nothing to erase.

    Raises Held while a legal hold keeps it.
    """
    settle()
    hold = hold_on_event(event)
    if hold:
        raise Held(hold)
    text = text_of(AuditEvent.objects.select_related(SELECT).get(pk=event.pk))
    deleted, _ = AuditPrivate.objects.filter(pk=event.pk).delete()
    if not deleted:
        return False
    rows = _other_rows("", [Written(event, text)] if text else [])
    record(
        action="audit.reason.erase",
        target=Target("audit_event", str(event.event_uuid)),
        actor=actor,
        data={"rows": rows},
        reason=reason,
    )
    return True


@transaction.atomic
def erase_subject(*, subject: str, actor: Actor, reason: str) -> Erased:
    """Destroy the key of a person's texts, take what they wrote out of other rows, and record it. No leaf changes.

    What the person is writing at this moment is waited for and erased too; what they begin to write is refused.
    Raises ValueError without a reason, Held while a legal hold keeps the person's texts, AlreadyErased.
    """
    if not reason.strip():
        raise ValueError(gettext("Say in a sentence why the person is erased. Your reason is recorded."))
    settle()
    AuditSubjectKey.objects.bulk_create(
        [AuditSubjectKey(subject=subject, wrapped=None, erased_at=database_now())], ignore_conflicts=True
    )
    # Whoever seals a text holds the key's row until commit: from here on all of them are to be seen, and none is added.
    AuditSubjectKey.objects.select_for_update().get(pk=subject)
    hold = hold_on_subject(subject)
    if hold:
        raise Held(hold)
    written = _written_by(subject)
    destroyed = AuditSubjectKey.objects.filter(pk=subject, erased_at=None).update(wrapped=None, erased_at=Now())
    if not destroyed and _was_erased(subject):
        raise AlreadyErased(gettext("%(subject)s was erased before. Nothing was changed.") % {"subject": subject})
    texts = len(written)
    rows = _other_rows(subject, written)
    record(
        action="subject.erase",
        target=Target("subject", subject),
        actor=actor,
        data={"texts": texts, "rows": rows},
        reason=reason.strip(),
    )
    return Erased(texts, rows)


def _other_rows(subject: str, written: Sequence[Written]) -> dict[str, int]:
    return {table: count for eraser in _erasers for table, count in eraser(subject, written).items() if count}


def _written_by(subject: str) -> list[Written]:
    """Every text under the subject's key that still opens, oldest first."""
    rows = AuditPrivate.objects.filter(subject=subject).select_related("subject", "event").order_by("pk")
    return [Written(row.event, text) for row in rows.iterator(chunk_size=1000) if (text := row.text)]


def _was_erased(subject: str) -> bool:
    return AuditEvent.objects.filter(action="subject.erase", target_kind="subject", target_id=subject).exists()


def rotate_seal_key(*, actor: Actor) -> tuple[KeyRing, int]:
    """Make a new seal key, wrap every person's key anew under it, and record the ids of the keys.

    Returns the ring and how many were wrapped. Raises SealKeyError, and SealBroken where a key of a person's is wrapped
    by none of the file's. Killed half-way, it is simply run again.
    """
    ring = key_ring()
    before = ring.current
    # The new key takes the oldest's place in the file: what a rotation that was killed left under that goes first.
    while _wrap_anew(ring):
        pass
    ring = add_key(Path(settings.LASTGOOD_SEAL_KEY_FILE))
    done = 0
    while changed := _wrap_anew(ring):
        done += changed
    record(
        action="seal.rotate",
        target=Target("seal_key", ring.current.hex()),
        actor=actor,
        data={"before": before.hex(), "wrapped": done},
    )
    return ring, done


@transaction.atomic
def _wrap_anew(ring: KeyRing) -> int:
    """Wrap some of the keys that another seal key wrapped; 0 when none is left."""
    rows = AuditSubjectKey.objects.select_for_update(no_key=True).filter(erased_at=None).order_by("pk")
    old = rows.extra(where=["substr(wrapped, 1, 4) <> %s"], params=[ring.current])[:MOST_WRAPPED_AT_ONCE]
    changed = 0
    for row in old:
        held = bytes(row.wrapped or b"")
        wrapped = ring.wrap(ring.unwrap(held, row.subject), row.subject)
        changed += AuditSubjectKey.objects.filter(pk=row.pk, wrapped=held).update(wrapped=wrapped)
    return changed
