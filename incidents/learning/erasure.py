"""What an erased person wrote, in the rows of learning."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from audit.queries import record_of
from incidents.learning.models import ContributingCause, Signature


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the words of the person's signatures, and of the causes that they noted; counts by table."""
    answers = [record_of(one.event)["data"] for one in written if one.event.action == "review.answer"]
    signatures = Signature.objects.filter(pk__in=[data["signature"] for data in answers]).exclude(words="")
    noted = [one for one in written if one.event.action == "review.set_causes"]
    causes = sum(
        ContributingCause.objects.filter(review__incident__ref=one.event.incident, note=line)
        .exclude(note="")
        .update(note=ERASED)
        for one in noted
        for line in one.text.split("\n")
    )
    return {"learning_signature": signatures.update(words=ERASED), "learning_contributingcause": causes}
