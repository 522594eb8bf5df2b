"""What stands in these rows about an erased person, or in their words."""

from collections.abc import Sequence

from accounts.models import User
from audit.erasure import ERASED, Written
from incidents.oncall.contacts import forget
from incidents.oncall.models import Contact, Override


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Forget how the person was reached, and put ERASED for the reasons that they gave; counts by table."""
    people = list(User.objects.filter(pseudonym=subject)) if subject else []
    single = [one for one in written if one.event.action == "rotation.override"]
    reasons = sum(
        Override.objects.filter(rotation=one.event.target_id, reason=one.text[:500]).update(reason=ERASED)
        for one in single
    )
    return {
        "oncall_override": Override.objects.filter(by__in=people).update(reason=ERASED) if people else reasons,
        "oncall_contact": Contact.objects.filter(user__in=people).update(name=ERASED) if people else 0,
        "telling_subscriber": forget(people) if people else 0,
    }
