"""What an erased person wrote, in the rows of learning."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from audit.queries import record_of
from incidents.learning.models import NOTE_LENGTH, ContributingCause, Signature


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the words of the person's signatures, and of the causes that they noted; counts by table."""
    answers = [record_of(one.event)["data"] for one in written if one.event.action == "review.answer"]
    signatures = Signature.objects.filter(pk__in=[data["signature"] for data in answers]).exclude(words="")
    noted = [one for one in written if one.event.action == "review.set_causes"]
    causes = [
        cause.pk
        for one in noted
        for cause in ContributingCause.objects.filter(review__incident__ref=one.event.incident).exclude(note="")
        if _holds(one.text, cause.note)
    ]
    return {
        "learning_signature": signatures.update(words=ERASED),
        "learning_contributingcause": ContributingCause.objects.filter(pk__in=causes).update(note=ERASED),
    }


def _holds(text: str, note: str) -> bool:
    """Whether the note is among the sealed words: notes, each of one or more lines, one after the other. One of
    NOTE_LENGTH was cut there when it was stored."""
    end = "" if len(note) == NOTE_LENGTH else "\n"
    return f"\n{note}{end}" in f"\n{text}\n"
