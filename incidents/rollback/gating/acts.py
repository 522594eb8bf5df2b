"""Registering a gate, which a policy may put under approval: what an owner's command may ask decides over releases."""

import re
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext

from accounts.approvals import acts
from accounts.approvals.models import Act, SubjectKind
from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor
from audit.english import in_english
from incidents.rollback.gating import actions, bodies
from incidents.rollback.gating.bodies import GateRefused
from incidents.rollback.gating.models import AskedWhen, GateDefinition, GateKind
from incidents.rollback.gating.words import sentence_of
from incidents.rollback.models import PlanKind
from registry.acts import environment_of
from registry.models import Environment, Model

PLAN_KINDS = [str(kind) for kind in (PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL)]
TAKEN = frozenset(
    {
        "serving",
        "golden",
        "errors",
        "latency",
        "capacity",
        "errors_beside",
        "questions",
        "holdout",
        "accuracy",
        "outputs",
    }
)
"""Names of the gates and checks that plans have anyway."""
ENVIRONMENTS = ("any", *map(str, Environment.values))


def register_gate(
    *,
    model: Model,
    name: str,
    kind: str,
    question: str,
    body: Any,
    plan_kinds: Sequence[str] = tuple(PLAN_KINDS),
    environment: str = "any",
    when: str = AskedWhen.WAVE,
    reason: str = "",
    user: User,
    actor: Actor,
) -> GateDefinition | Act:
    """Register a gate at once where no active policy names its kind; else the act that waits for its approvals.

    Raises PermissionDenied, GateRefused, accounts.approvals.acts.ActRefused.
    """
    require(user, "registry.write", model=model.slug, team=model.team)
    facts = facts_of(
        model=model,
        name=name,
        kind=kind,
        question=question,
        body=body,
        plan_kinds=plan_kinds,
        environment=environment,
        when=when,
    )
    actions.refuse_known(model, name)
    asked = acts.ask(
        kind=SubjectKind.GATE_REGISTRATION,
        body={name: facts[name] for name in ("model", "name", "digest")} | {"gate": facts},
        title=f"Register the gate {name} of {model.slug}",
        reason=reason,
        user=user,
        actor=actor,
        risk_tier=model.risk_tier,
        environment=environment_of(model),
        model=model.slug,
        team=model.team,
    )
    return asked if asked is not None else actions.enter_gate(model=model, facts=facts, actor=actor)


def facts_of(
    *,
    model: Model,
    name: str,
    kind: str,
    question: str,
    body: Any,
    plan_kinds: Sequence[str],
    environment: str,
    when: str = AskedWhen.WAVE,
) -> dict[str, Any]:
    """What is registered, checked, with its digest: model, name, kind, question, body, plan_kinds, environment, digest;
    and `when`, where it is asked at another moment than after each wave.

    Names of people become pseudonyms. Raises GateRefused.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,39}", name) or name in TAKEN:
        raise GateRefused(
            "malformed", gettext("A gate's name has 2 to 40 small letters, digits and dashes, and is not taken.")
        )
    if not question.strip().endswith("?") or len(question) > 200:
        raise GateRefused("malformed", gettext("A gate asks a question of at most 200 characters that ends with “?”."))
    if not plan_kinds or not set(plan_kinds) <= set(PLAN_KINDS):
        raise GateRefused(
            "malformed", gettext("Plans that ask it are of the kinds %(names)s.") % {"names": ", ".join(PLAN_KINDS)}
        )
    if environment not in ENVIRONMENTS:
        raise GateRefused(
            "malformed", gettext("The environment is one of %(names)s.") % {"names": ", ".join(ENVIRONMENTS)}
        )
    if when not in AskedWhen.values:
        raise GateRefused("malformed", gettext("It is asked when: %(names)s.") % {"names": ", ".join(AskedWhen.values)})
    checked = bodies.check(kind, body)
    if kind == GateKind.ACCEPTANCE:
        checked["people"] = [_pseudonym(username) for username in checked["people"]]
    facts = {
        "model": model.slug,
        "name": name,
        "kind": kind,
        "question": question.strip(),
        "body": checked,
        "plan_kinds": sorted(plan_kinds),
        "environment": environment,
        **({"when": str(when)} if when != AskedWhen.WAVE else {}),
    }
    return facts | {"digest": bodies.digest(facts)}


def _pseudonym(username: str) -> str:
    person = User.objects.filter(username=username, is_active=True).first()
    if person is None:
        raise GateRefused(
            "malformed",
            gettext("There is nobody called %(username)s. Name people by their user names.") % {"username": username},
        )
    return person.pseudonym


def _perform(act: Act, body: dict[str, Any], actor: Actor) -> None:
    try:
        actions.enter_gate(model=Model.objects.get(slug=body["model"]), facts=body["gate"], actor=actor)
    except GateRefused as refused:
        raise acts.ActRefused("moved", refused.sentence) from refused


def _rows(body: dict[str, Any]) -> list[dict[str, str]]:
    body = body["gate"]
    told = {
        "asks": body["question"],
        "how": sentence_of(body["kind"], body["body"]),
        "in plans of the kinds": ", ".join(body["plan_kinds"]),
        "environment": body["environment"],
        "asked": in_english(AskedWhen(body.get("when", AskedWhen.WAVE)).label).lower(),
        **{name: str(value) for name, value in body["body"].items() if value not in ("", {}, [])},
    }
    group = f"{body['model']}: {body['name']}"
    return [{"group": group, "label": label, "before": "", "after": after} for label, after in told.items()]


def register_all() -> None:
    acts.register(
        acts.ActKind(
            kind=SubjectKind.GATE_REGISTRATION,
            perform=_perform,
            rows=_rows,
            consequence=lambda body: (
                gettext("New plans for %(model)s will ask: %(question)s")
                % {"model": body["model"], "question": body["gate"]["question"]}
            ),
        )
    )
