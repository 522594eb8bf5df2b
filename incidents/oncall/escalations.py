"""The escalation of an incident: begin it, call the next step, take it, hand it over, end it.

Everything that was done and everything that is to be done stands in rows. A step is one transaction: its calls, their
messages in the outbox, its event and the time of the next step are there together or not at all; so whoever dies in
it, the clock finds the row, and nothing is called twice.
"""

import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import may_on
from audit.actions import PEOPLE, Actor, Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import send_on_commit
from audit.due import in_turns
from audit.english import outside
from audit.models import AuditEvent, Outcome
from incidents import actions
from incidents.errors import IncidentError
from incidents.models import OPEN_STATES, Incident, IncidentRole, RoleHolding
from incidents.oncall.calls import call_words, names_of, settled_words
from incidents.oncall.models import OPEN, Call, Contact, Escalation, State
from incidents.oncall.policies import EVERYBODY, in_use, policy_for
from incidents.oncall.targets import reached
from incidents.telling import outbox
from incidents.telling.maintenance import maintenance_of
from incidents.telling.models import Kind, Message, MessageState

CALLER = service_actor("oncall")
ANSWERS = (
    "incident.acknowledge",
    "incident.triage",
    "incident.post_update",
    "incident.move",
    "rollback.plan.propose",
    "escalation.acknowledge",
)
"""What a person does who has it. Done after people were woken, it is an answer."""
EVERYBODY_SECONDS = 1800
"""How long after everybody was called they are called again, while nobody has it."""
MOST = 200
"""As many rows the clock is told of at once."""
HAND_OVER_SECONDS = 600
"""How long the one to whom it is handed may take to answer."""


def begin(*, incident_id: int) -> Escalation | None:
    """Begin to wake people for an open incident, by the policy for its severity; anew where it has become worse than
    what people were woken for. None where nobody is to be woken: no policy, maintenance under way, or begun before."""
    with transaction.atomic():
        mine = Escalation.objects.filter(incident=incident_id).exclude(state=State.ENDED)
        before = mine.select_for_update(of=("self",)).select_related("incident__endpoint__model").first()
        rows = Incident.objects.select_for_update(of=("self",)).select_related("endpoint__model")
        incident = rows.get(pk=incident_id)
        if incident.state not in OPEN_STATES or (before and before.severity <= incident.severity):
            return None
        if before is None and mine.exists():  # another began it while this one waited for the incident's row
            return None
        policy = policy_for(incident)
        if policy is None or (incident.endpoint and maintenance_of(incident.endpoint)):
            return None
        if before is not None:
            _end(before, "raised")
        made = Escalation.objects.create(
            incident=incident, policy=policy, severity=incident.severity, steps=policy.steps, due_at=Now(),
            repeats=policy.repeats, silence_seconds=policy.silence_seconds,
        )  # fmt: skip
        why = "raised" if before else "opened"
        data = {"policy": policy.name, "severity": incident.severity, "steps": len(policy.steps), "why": why}
        _record("escalation.begin", made, CALLER, data)
        if before is None and incident.acknowledged_at is not None:
            held = RoleHolding.objects.filter(incident=incident, role=IncidentRole.COMMANDER, until=None)
            commander = held.select_related("user").first()
            _take(made, commander.user if commander else None)
        send_on_commit("oncall.turn", [made.pk], queue="intake")
        return made


def turn(*, escalation_id: int) -> bool:
    """Do what is due: end it, see that somebody has it, call the next step, or call anew whoever has it and is silent.
    Safe to call any number of times. False where nothing was due."""
    with transaction.atomic():
        one = _locked(escalation_id)
        if one is None or one.state == State.ENDED:
            return False
        if one.incident.state not in OPEN_STATES:
            _end(one, "over")
            return True
        if one.state == State.WAKING and (answer := _newest(one, since=one.woken_at, among=ANSWERS)):
            holder = User.objects.filter(pseudonym=answer.actor).first()
            _record("escalation.taken", one, CALLER, {"holder": answer.actor, "by": answer.action})
            _take(one, holder)
            return True
        now = database_now()
        if one.due_at is None or (one.due_at > now and not _unsent().filter(pk=one.pk).exists()):
            return False
        if one.state == State.TAKEN and not _is_silent(one, now):
            return False
        _call_next(one, now)
        return True


def _unsent() -> QuerySet[Escalation]:
    """Escalations of which no call of the newest step can be sent any more: nobody is to be waited for. Everybody is
    called again by the clock alone."""
    newest = Call.objects.filter(
        escalation=OuterRef("pk"), wave=OuterRef("wave"), round=OuterRef("round"), step=OuterRef("position")
    )
    alive = newest.exclude(message__state__in=[MessageState.GIVEN_UP, MessageState.CANCELLED])
    return Escalation.objects.filter(Exists(newest), ~Exists(alive), state=State.WAKING, past=0)


def _is_silent(one: Escalation, now: datetime.datetime) -> bool:
    """Whether who has it gave no sign for as long as the policy says; then people are woken anew, from the first step.
    Else it is looked at again when that time has gone by since the last sign."""
    sign = _newest(one, since=one.taken_at)
    quiet = datetime.timedelta(seconds=one.silence_seconds)
    if sign is not None and sign.occurred_at + quiet > now:
        Escalation.objects.filter(pk=one.pk).update(due_at=sign.occurred_at + quiet)
        return False
    _record("escalation.silent", one, CALLER, {"seconds": one.silence_seconds} | _holder(one.taken_by))
    _wake(one, position=0)
    return True


def _newest(one: Escalation, *, since: Any, among: tuple[str, ...] = ()) -> AuditEvent | None:
    """The newest thing that a person did in the incident after a moment; `among`: only of these."""
    done = AuditEvent.objects.filter(
        incident=one.incident.ref, actor_kind__in=PEOPLE, outcome=Outcome.SUCCESS, occurred_at__gt=since
    )
    done = done.filter(action__in=among) if among else done.exclude(action__in=["escalation.hand_over"])
    return done.order_by("-incident_seq").first()


def _wake(one: Escalation, *, position: int, steps: list[dict[str, Any]] | None = None) -> None:
    """Begin another wave at a step; what is due of it is due now."""
    one.wave, one.round, one.position, one.past, one.state = one.wave + 1, 0, position, 0, State.WAKING
    one.steps, one.taken_by = steps or one.steps, None
    Escalation.objects.filter(pk=one.pk).update(
        wave=one.wave, round=0, position=position, past=0, state=State.WAKING, woken_at=Now(), due_at=Now(),
        taken_by=None, taken_at=None, steps=one.steps,
    )  # fmt: skip


def _call_next(one: Escalation, now: datetime.datetime) -> None:
    """Call the next step that reaches anybody; a step that reaches nobody is on record, and waited for by nobody."""
    for _ in range(len(one.steps) * (one.repeats + 1) + 1):
        step, seconds = _next_step(one)
        found = reached(step["targets"], one.incident, one.severity, now)
        _call(one, step, seconds, found.ways, found.missed, now)
        if found.ways or one.past:
            break
    Escalation.objects.filter(pk=one.pk).update(
        round=one.round, position=one.position, past=one.past, due_at=Now() + datetime.timedelta(seconds=seconds)
    )


def _next_step(one: Escalation) -> tuple[dict[str, Any], int]:
    """The step that is next, and the seconds until the one after it; the row in memory goes on to that."""
    if one.position >= len(one.steps) and one.round < one.repeats:
        one.round, one.position = one.round + 1, 0
    if one.position >= len(one.steps):
        one.past += 1
        return {"targets": [EVERYBODY]}, EVERYBODY_SECONDS
    step = one.steps[one.position]
    one.position += 1
    return step, int(step["seconds"])


def _call(
    one: Escalation, step: dict[str, Any], seconds: int, ways: list[Contact], missed: list[str], now: datetime.datetime
) -> None:
    number = 0 if one.past else one.position
    mark = f"{one.wave}.{one.round}.{number}.{one.past}"
    names = names_of(ways)
    for way in ways:
        message = outbox.note(
            key=f"wake:{one.pk}:{mark}:{way.pk}",
            subscriber=way.receiver,
            words=call_words(one, way, names, now, seconds),
        )
        Call.objects.create(
            escalation=one, contact=way, user=way.user, message=message, wave=one.wave, round=one.round, step=number
        )
    called = list(dict.fromkeys(way.user.pseudonym for way in ways if way.user))
    channels = [way.name for way in ways if not way.user]
    data = {"wave": one.wave, "round": one.round, "step": number, "called": called, "channels": channels}
    _record("escalation.call", one, CALLER, data | {"missed": missed, "seconds": seconds})


@transaction.atomic
def acknowledge(*, escalation: Escalation, user: User, actor: Actor) -> Escalation:
    """Say that you have it. The incident is acknowledged by it where it was not. Again by the same person, it changes
    nothing. Raises IncidentError where it is over, or somebody else has it."""
    one = _open(escalation)
    if one.state == State.TAKEN:
        if one.taken_by_id == user.pk:
            return one
        raise IncidentError(
            gettext("%(person)s has it already. Nothing was changed.") % {"person": one.taken_by or gettext("Somebody")}
        )
    if one.incident.acknowledged_at is None:
        actions.acknowledge(incident=one.incident, user=user, actor=actor)
    _record("escalation.acknowledge", one, actor, {"wave": one.wave})
    Call.objects.filter(escalation=one, user=user, wave=one.wave, answered_at=None).update(answered_at=Now())
    _take_role(one, user, actor)
    _take(one, user)
    return _open(escalation)


def _take_role(one: Escalation, user: User, actor: Actor) -> None:
    """Who takes what a commander handed over commands from then on."""
    giver = next((step["handed_by"] for step in one.steps[:1] if step.get("handed_by")), "")
    held = RoleHolding.objects.filter(incident=one.incident, role=IncidentRole.COMMANDER, until=None)
    if giver and held.filter(user__pseudonym=giver).exclude(user=user).exists():
        actions.hold_role(incident=one.incident, role=IncidentRole.COMMANDER, user=user, actor=actor)


@transaction.atomic
def hand_over(*, escalation: Escalation, to: User, user: User, actor: Actor, reason: str = "") -> Escalation:
    """Ask another person to take it: they are called now, and after ten minutes without an answer the policy's first
    step is. Raises IncidentError where it is over, and for one who may not work on the incident."""
    one = _open(escalation)
    if to.pk == user.pk or not to.is_active or not may_on(to, "incident.respond", one.incident):
        raise IncidentError(
            gettext("%(to)s can't take it. Choose another person who may work on this incident.") % {"to": to}
        )
    own = [step for step in one.steps if not step.get("handed_by")]
    ask = {"targets": [f"person:{to.pseudonym}"], "seconds": HAND_OVER_SECONDS, "handed_by": user.pseudonym}
    _record("escalation.hand_over", one, actor, {"holder": to.pseudonym}, reason.strip())
    _wake(one, position=0, steps=[ask, *own])
    _call_next(one, database_now())
    return _open(escalation)


@transaction.atomic
def call_now(*, escalation: Escalation, actor: Actor, reason: str = "") -> Escalation:
    """Call the next step at once, whether somebody has it or not. Raises IncidentError where it is over."""
    one = _open(escalation)
    _record("escalation.escalate", one, actor, {"wave": one.wave}, reason.strip())
    if one.state == State.TAKEN:
        _wake(one, position=one.position % len(one.steps))
    _call_next(one, database_now())
    return _open(escalation)


def _open(escalation: Escalation) -> Escalation:
    one = _locked(escalation.pk)
    if one is None or one.state == State.ENDED or one.incident.state not in OPEN_STATES:
        raise IncidentError(gettext("It is over: nobody is called any more."))
    return one


def _locked(key: int) -> Escalation | None:
    rows = Escalation.objects.select_for_update(of=("self",)).select_related("incident__endpoint__model", "taken_by")
    return rows.filter(pk=key).first()


def _take(one: Escalation, holder: User | None) -> None:
    """Stop calling: what waits is not sent, and channels and pagers are told who has it."""
    seconds = datetime.timedelta(seconds=one.silence_seconds)
    Escalation.objects.filter(pk=one.pk, state=State.WAKING).update(
        state=State.TAKEN, taken_by=holder, taken_at=Now(), due_at=Now() + seconds if one.silence_seconds else None
    )
    with outside():
        said = gettext("%(holder)s has it.") % {"holder": holder or gettext("Somebody")}
    _settle(one, "acknowledge", said)


def _end(one: Escalation, why: str) -> None:
    ended = Escalation.objects.filter(pk=one.pk).exclude(state=State.ENDED)
    if ended.update(state=State.ENDED, ended_at=Now(), due_at=None):
        _record("escalation.end", one, CALLER, {"why": why})
        with outside():
            anew = gettext("It is worse than it was thought, and called anew.")
            said = anew if why == "raised" else gettext("It is over.")
        _settle(one, "resolve", said)


def _settle(one: Escalation, event: str, said: str) -> None:
    Message.objects.filter(call__escalation=one, state=MessageState.WAITING).update(state=MessageState.CANCELLED)
    calls = Call.objects.filter(escalation=one).select_related("contact__receiver", "message").order_by("wave", "pk")
    told = {
        (call.wave, call.contact_id): call
        for call in calls
        if call.contact.receiver.kind == Kind.PAGER or call.contact.user_id is None
    }
    now = database_now()
    for (wave, contact), call in told.items():
        if event == "resolve" or wave == one.wave:
            words = settled_words(one, event, said, now)
            words["dedup_key"] = call.message.words["dedup_key"] if call.message.words else words["dedup_key"]
            outbox.note(key=f"wake:{one.pk}:{wave}:{contact}:{event}", subscriber=call.contact.receiver, words=words)


def _holder(user: User | None) -> dict[str, str]:
    return {"holder": user.pseudonym} if user else {}


def _record(action: str, one: Escalation, actor: Actor, data: dict[str, Any], reason: str = "") -> None:
    target = Target("escalation", str(one.pk))
    record(action=action, target=target, actor=actor, incident=one.incident.ref, data=data, reason=reason)


def due(now: datetime.datetime) -> list[int]:
    """Escalations of which something is to be done: a step, a look at who has it, or their end."""
    going_on = Escalation.objects.filter(state__in=OPEN).order_by("pk")
    found = going_on.filter(
        Q(due_at__lte=now) | ~Q(incident__state__in=OPEN_STATES) | Q(pk__in=_unsent().values("pk"))
    ).values_list("pk", flat=True)
    waking = {
        ref: (pk, woken)
        for ref, pk, woken in going_on.filter(state=State.WAKING).values_list("incident__ref", "pk", "woken_at")
    }
    if not waking:
        return list(found[:MOST])
    since = min(woken for _, woken in waking.values())
    answers = AuditEvent.objects.filter(
        incident__in=waking, action__in=ANSWERS, actor_kind__in=PEOPLE, outcome=Outcome.SUCCESS, occurred_at__gt=since
    )
    answered = {waking[ref][0] for ref, at in answers.values_list("incident", "occurred_at") if at > waking[ref][1]}
    return sorted({*found[:MOST], *answered})


def unbegun(now: datetime.datetime) -> list[int]:
    """Open incidents for which a policy wakes people, and nobody is woken yet, or only for a lesser severity."""
    policies = in_use()
    if not policies:
        return []
    woken = Escalation.objects.filter(incident=OuterRef("pk"), state__in=OPEN, severity__lte=OuterRef("severity"))
    meant = Q()
    for policy in policies:
        theirs = Q(endpoint__model__team=policy.team) if policy.team else Q()
        meant |= Q(severity__in=policy.severities) & theirs
    rows = Incident.objects.filter(meant, ~Exists(woken), state__in=OPEN_STATES).order_by("severity", "pk")
    # One under maintenance stays here for as long as that lasts, and must keep no other waiting.
    return in_turns(rows.values_list("pk", flat=True), now, most=MOST, seconds=10)
