"""Runbooks: written once, taken up in an incident as they read then, their steps ticked off on the timeline."""

import hashlib
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import OPEN_STATES, Incident
from incidents.working.markdown import steps
from incidents.working.models import Runbook, RunbookUse, Step
from incidents.working.notes import put_on_record
from registry.models import Model


def _facts(title: str, body: str, model: Model | None, kind: str) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
        "steps": len(steps(body)),
        "model": model.slug if model else "",
        "kind": kind,
    }


def _check(title: str, body: str) -> None:
    if not title.strip() or not body.strip():
        raise IncidentError(gettext("A runbook needs a title and says what to do."))


@transaction.atomic
def write_runbook(
    *, slug: str, title: str, body: str, model: Model | None = None, kind: str = "", reason: str = "", actor: Actor
) -> Runbook:
    """A new runbook, for one model and kind of rule or for any. The log keeps its digest, not its text."""
    _check(title, body)
    try:
        with transaction.atomic():
            made = Runbook.objects.create(slug=slug, title=title.strip(), body=body, model=model, kind=kind)
    except IntegrityError:
        raise IncidentError(
            gettext("There is a runbook %(slug)s already. Edit it, or take another name.") % {"slug": slug}
        ) from None
    data = _facts(title, body, model, kind)
    record(action="runbook.write", target=Target("runbook", slug, "1"), actor=actor, data=data, reason=reason)
    return made


@transaction.atomic
def edit_runbook(
    *, runbook: Runbook, title: str, body: str, model: Model | None, kind: str, reason: str, seen_version: int,
    actor: Actor,
) -> Runbook:  # fmt: skip
    """Replace what it says; incidents that took it up keep what they took up. Raises Conflict, and IncidentError where
    it was retired."""
    _check(title, body)
    changed = Runbook.objects.filter(pk=runbook.pk, version=seen_version, retired_at=None).update(
        title=title.strip(), body=body, model=model, kind=kind, version=F("version") + 1, changed_at=Now()
    )
    runbook.refresh_from_db()
    if changed != 1 and runbook.retired_at is not None:
        raise IncidentError(gettext("This runbook was retired. Write a new one under another name."))
    if changed != 1:
        raise Conflict(runbook.version)
    target = Target("runbook", runbook.slug, str(runbook.version))
    record(action="runbook.edit", target=target, actor=actor, data=_facts(title, body, model, kind), reason=reason)
    return runbook


@transaction.atomic
def retire_runbook(*, runbook: Runbook, reason: str, actor: Actor) -> None:
    """Offer it in no incident any more."""
    if not Runbook.objects.filter(pk=runbook.pk, retired_at=None).update(retired_at=Now()):
        raise IncidentError(gettext("This runbook was retired before. Nothing was changed."))
    target = Target("runbook", runbook.slug, str(runbook.version))
    record(action="runbook.retire", target=target, actor=actor, data={}, reason=reason)


def rule_kinds(incident: Incident) -> set[str]:
    """Kinds of the rules whose alerts belong to the incident."""
    kinds = incident.incident_alerts.filter(alert__rule__isnull=False).values_list("alert__rule__kind", flat=True)
    return set(kinds)


def fitting(incident: Incident) -> QuerySet[Runbook]:
    """Those for the incident's model and kinds, or for any; the more closely it fits the earlier. Two queries."""
    model = incident.endpoint.model_id if incident.endpoint else None
    kinds = rule_kinds(incident)
    found = Runbook.objects.filter(Q(model=None) | Q(model=model), Q(kind="") | Q(kind__in=kinds), retired_at=None)
    points = [
        Case(When(model=model, model__isnull=False, then=Value(2)), default=Value(0), output_field=IntegerField()),
        Case(When(kind="", then=Value(0)), default=Value(1), output_field=IntegerField()),
    ]
    return found.annotate(fit=points[0] + points[1]).order_by("-fit", "title")


@transaction.atomic
def take_up(*, incident: Incident, runbook: Runbook, user: User, actor: Actor) -> RunbookUse:
    """Have the runbook's steps, as they read now, on the incident to tick off."""
    if incident.state not in OPEN_STATES:
        raise GuardFailed(
            "incident_open",
            gettext("%(ref)s is %(name)s. Reopen it first.")
            % {"ref": incident.ref, "name": incident.get_state_display().lower()},
        )
    if runbook.retired_at is not None:
        raise IncidentError(gettext("The runbook %(title)s was retired. Choose another.") % {"title": runbook.title})
    try:
        with transaction.atomic():
            use = RunbookUse.objects.create(
                incident=incident, runbook=runbook, runbook_version=runbook.version, body=runbook.body, by=user
            )
    except IntegrityError:
        raise IncidentError(
            gettext("%(title)s was taken up already. Nothing was changed.") % {"title": runbook.title}
        ) from None
    made = [Step(use=use, position=at, text=text) for at, text in enumerate(steps(runbook.body), start=1)]
    Step.objects.bulk_create(made)
    data = {"runbook": runbook.slug, "version": runbook.version, "steps": len(made)}
    put_on_record(incident, "incident.take_up_runbook", actor, data)
    return use


@transaction.atomic
def tick(*, step: Step, done: bool = True, user: User, actor: Actor) -> Step:
    """Say that a step is done, or that it is open again after all."""
    found = Step.objects.filter(pk=step.pk, done_at__isnull=done)
    fields: dict[str, Any] = {"done_at": Now(), "done_by": user} if done else {"done_at": None, "done_by": None}
    if found.update(**fields) != 1:
        raise IncidentError(
            gettext("The step is done already. Nothing was changed.")
            if done
            else gettext("The step is open already. Nothing was changed.")
        )
    use = step.use
    data = {"runbook": use.runbook.slug, "step": step.position}
    put_on_record(use.incident, "incident.tick" if done else "incident.untick", actor, data, step.text)
    step.refresh_from_db()
    return step


def uses_of(incident: Incident) -> QuerySet[RunbookUse]:
    """The runbooks taken up in it with their steps, in two queries."""
    return incident.runbook_uses.select_related("runbook", "by").prefetch_related("steps__done_by")
