"""The verbs on registered gates: registering, retiring, accepting. Registering may need approvals: see acts.py."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor, Target, record
from incidents.rollback.gating.bodies import GateRefused
from incidents.rollback.gating.models import ASKED, Acceptance, AskedWhen, Asking, GateDefinition, GateKind
from incidents.rollback.gating.waking import wake
from incidents.rollback.models import Run
from registry.models import Model


@transaction.atomic
def enter_gate(*, model: Model, facts: dict[str, Any], actor: Actor) -> GateDefinition:
    """Store a gate whose facts (`acts.facts_of`) were checked. Raises GateRefused where one of its name is there."""
    Model.objects.select_for_update().get(pk=model.pk)
    refuse_known(model, facts["name"])
    terms = {name: facts[name] for name in ("name", "kind", "question", "body", "plan_kinds", "environment", "digest")}
    when = facts.get("when", AskedWhen.WAVE)
    definition = GateDefinition.objects.create(model=model, registered_by=actor.id, asked_when=when, **terms)
    record(
        action="gate.register",
        target=Target("gate", f"{model.slug}/{definition.name}", definition.digest),
        actor=actor,
        data={"digest": definition.digest, "kind": definition.kind, "body": definition.body},
    )
    return definition


def refuse_known(model: Model, name: str) -> None:
    """Raises GateRefused where the model has a gate of that name."""
    if GateDefinition.objects.filter(model=model, name=name, retired_at=None).exists():
        raise GateRefused(
            "already_there",
            gettext("%(slug)s has a gate %(name)s. Retire it, or choose another name.")
            % {"slug": model.slug, "name": name},
        )


@transaction.atomic
def retire_gate(*, definition: GateDefinition, reason: str, user: User, actor: Actor) -> None:
    """Ask it no more, in no plan that is made from now on; a suite is not run any more at all.

    Raises PermissionDenied, GateRefused without a reason, or when it was retired before.
    """
    require(user, "registry.write", model=definition.model.slug, team=definition.model.team)
    if not reason.strip():
        raise GateRefused("reason_needed", gettext("Say in a sentence why the gate is asked no more."))
    retired = GateDefinition.objects.filter(pk=definition.pk, retired_at=None)
    if not retired.update(retired_at=Now(), retired_reason=reason[:300]):
        raise GateRefused("retired", gettext("The gate %(name)s was retired before.") % {"name": definition.name})
    record(
        action="gate.retire",
        target=Target("gate", f"{definition.model.slug}/{definition.name}", definition.digest),
        actor=actor,
        reason=reason,
        data={"digest": definition.digest},
    )


@transaction.atomic
def accept(*, asking: Asking, user: User, accepted: bool, reason: str, actor: Actor) -> Acceptance:
    """What a named person says of the version in a wave or in the watch, once. The run goes on, or fails its gate,
    when enough have.

    Raises GateRefused for anybody else, without a reason for a refusal, and when it was said or the run has ended.
    """
    require(user, "view")
    definition = asking.definition
    if definition.kind != GateKind.ACCEPTANCE or user.pseudonym not in definition.body["people"]:
        raise GateRefused("not_named", gettext("The gate names other people. Ask one of them."))
    if not accepted and not reason.strip():
        raise GateRefused("reason_needed", gettext("Say in a sentence what is wrong; it goes on record."))
    # The run's row first, as whoever moves the run locks them.
    run = Run.objects.select_for_update(of=("self",)).select_related("plan").get(pk=asking.run_id)
    if not Asking.objects.filter(ASKED, pk=asking.pk).exists():
        raise GateRefused(
            "not_active",
            gettext("Nothing waits for it: the run is %(state)s.") % {"state": run.get_state_display().lower()},
        )
    try:
        with transaction.atomic():
            said = Acceptance.objects.create(
                asking=asking, user=user, pseudonym=user.pseudonym, accepted=accepted, reason=reason[:500]
            )
    except IntegrityError:
        raise GateRefused("said", gettext("You have said it before; it stands.")) from None
    record(
        action="gate.accept" if accepted else "gate.refuse",
        target=Target("run", str(run.pk)),
        actor=actor,
        incident=run.plan.incident_ref,
        reason=reason,
        outcome="success" if accepted else "failed",
        data={
            "run": str(run.pk),
            "plan_hash": run.plan.plan_hash,
            **asking.facts,
            "gate": definition.name,
            "digest": definition.digest,
        },
    )
    Asking.objects.filter(pk=asking.pk).update(answered_at=None)  # asked for again at once
    wake(run)
    return said
