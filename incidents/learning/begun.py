"""What the sections of a new review begin with: by kind of incident, edited by administrators."""

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from incidents.errors import Conflict, IncidentError
from incidents.learning.models import ReviewTemplate
from incidents.models import Incident
from incidents.reviews import SECTIONS
from monitoring.models import RuleKind

MOST = 4000
"""Characters of one section."""


def texts_for(incident: Incident) -> dict[str, str]:
    """What the sections of the incident's review begin with: the template for one of its kinds, the first by name, else
    the one for every other; nothing where there is none."""
    from incidents.working.runbooks import rule_kinds

    found = {one.kind: one.texts for one in ReviewTemplate.objects.filter(kind__in=["", *rule_kinds(incident)])}
    return dict(found[min(found, key=lambda kind: (kind == "", kind))]) if found else {}


@transaction.atomic
def set_template(
    *, kind: str, texts: Mapping[str, str], reason: str, seen_version: int, actor: Actor
) -> ReviewTemplate:  # fmt: skip
    """Have reviews of that kind begin with these texts from now on; reviews that are begun stay as they are. Nothing in
    any section means that they begin empty. `seen_version` is 0 where there is no template yet.

    Raises Conflict when somebody edited it since, and IncidentError for a kind or section that does not exist.
    """
    if kind and kind not in RuleKind.values:
        raise IncidentError(
            gettext("There is no kind %(kind)s. The kinds are: %(names)s.")
            % {"kind": kind, "names": ", ".join(RuleKind.values)}
        )
    unknown = set(texts) - set(SECTIONS)
    if unknown:
        raise IncidentError(gettext("A review has no section %(names)s.") % {"names": ", ".join(sorted(unknown))})
    if any(len(text) > MOST for text in texts.values()):
        raise IncidentError(gettext("A section begins with at most %(most)s characters.") % {"most": MOST})
    if not reason.strip():
        raise IncidentError(
            gettext("Say in a sentence why reviews begin otherwise from now on. Your reason is recorded.")
        )
    kept = {name: text.strip() for name, text in texts.items() if text.strip()}
    now = ReviewTemplate.objects.filter(kind=kind).first()
    if seen_version != (now.version if now else 0):
        raise Conflict(now.version if now else 0)
    if now is None:
        try:
            with transaction.atomic():
                made = ReviewTemplate.objects.create(kind=kind, texts=kept)
        except IntegrityError:
            raise Conflict(1) from None
    else:
        changed = ReviewTemplate.objects.filter(pk=now.pk, version=seen_version)
        if changed.update(texts=kept, version=F("version") + 1, changed_at=Now()) != 1:
            raise Conflict(seen_version + 1)
        made = ReviewTemplate.objects.get(pk=now.pk)
    record(
        action="review_template.set",
        target=Target("review_template", kind or "any", str(made.version)),
        actor=actor,
        data={"texts": kept, "before": now.texts if now else {}},
        reason=reason.strip(),
    )
    return made
