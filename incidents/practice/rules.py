"""Rules by which a rollback may start by itself: set, armed, disarmed by a commander, tripped by a program."""

from dataclasses import asdict, dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals import automatic as leaves
from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor, Target, record
from incidents.practice.models import Attempt, AttemptState, AutomaticRule, RuleState
from incidents.rollback.plan import PlanRefused
from registry.models import Model

LONGEST_SECONDS = 30 * 86_400


class RuleRefused(PlanRefused):
    """The rule is as it was; the sentence says why."""


@dataclass(frozen=True)
class Terms:
    """What a rule asks for. `error_budget` is a share of answers, 0 to 1; hours are those of a day in UTC."""

    severity: int
    error_budget: float
    from_hour: int = 0
    to_hour: int = 24
    dwell_seconds: int = 3600
    most: int = 2
    window_seconds: int = 86_400
    drill_days: int = 30

    def check(self) -> None:
        """Raises RuleRefused."""
        limits = [
            (
                1 <= self.severity <= 4,
                gettext("The severity is one of 1 to 4; the rule acts on that and on worse ones."),
            ),
            (0 <= self.error_budget < 1, gettext("The error budget is a share of answers, from 0 to 1, such as 0.05.")),
            (
                0 <= self.from_hour < self.to_hour <= 24,
                gettext("Say from which hour to which later one, from 0 to 24 (UTC)."),
            ),
            (1 <= self.most <= 20, gettext("Say how many may start by themselves within the window, from 1 to 20.")),
            (
                1 <= self.drill_days <= 365,
                gettext("Say how many days old the drill of a target may be, from 1 to 365."),
            ),
            (
                60 <= self.dwell_seconds <= LONGEST_SECONDS,
                gettext("Say how many seconds lie between two, at least 60."),
            ),
            (
                self.dwell_seconds <= self.window_seconds <= LONGEST_SECONDS,
                gettext("The window is at least as long as the time between two, and at most 30 days."),
            ),
        ]
        for holds, sentence in limits:
            if not holds:
                raise RuleRefused("bad_rule", sentence)


def rule_of(model: Model) -> AutomaticRule | None:
    """The model's rule, whether armed or not."""
    return AutomaticRule.objects.filter(model=model, replaced_at=None).select_related("model", "armed_by").first()


def facts(rule: AutomaticRule) -> dict[str, Any]:
    """The rule as it stands in the record, without floats."""
    return {
        "number": rule.number,
        "severity": rule.severity,
        "from_hour": rule.from_hour,
        "to_hour": rule.to_hour,
        "error_budget": f"{rule.error_budget:.6f}",
        "dwell_seconds": rule.dwell_seconds,
        "most": rule.most,
        "window_seconds": rule.window_seconds,
        "drill_days": rule.drill_days,
    }


def set_rule(*, model: Model, terms: Terms, reason: str, user: User, actor: Actor) -> AutomaticRule:
    """Put a rule into force for a model, in place of the one before, and arm it. Whether a rollback may start by itself
    at all, the approval policy says. Raises PermissionDenied, RuleRefused."""
    require(user, "incident.command", model=model.slug, team=model.team)
    terms.check()
    _check_reason(reason)
    try:
        with transaction.atomic():
            if AutomaticRule.objects.filter(model=model, replaced_at=None).update(replaced_at=Now()):
                _take_back(model, "rule_gone", "The rule was replaced by another.", actor)
            newest = AutomaticRule.objects.filter(model=model).aggregate(newest=Max("number"))["newest"] or 0
            rule = AutomaticRule.objects.create(model=model, number=newest + 1, armed_by=user, **asdict(terms))
            _put(rule, "practice.rule.set", actor, reason)
            return rule
    except IntegrityError as error:
        raise RuleRefused("moved", gettext("Somebody set a rule at the same moment. Look again.")) from error


def arm(*, rule_id: Any, reason: str, user: User, actor: Actor) -> AutomaticRule:
    """Arm a rule that tripped, or was disarmed. Raises PermissionDenied, RuleRefused."""
    return _turn(rule_id, RuleState.ARMED, [RuleState.TRIPPED, RuleState.OFF], "practice.rule.arm", reason, user, actor)


def disarm(*, rule_id: Any, reason: str, user: User, actor: Actor) -> AutomaticRule:
    """Let nothing start by itself for the model any more. Raises PermissionDenied, RuleRefused."""
    return _turn(
        rule_id, RuleState.OFF, [RuleState.ARMED, RuleState.TRIPPED], "practice.rule.disarm", reason, user, actor
    )


def _turn(
    rule_id: Any, to: RuleState, only_from: list[RuleState], action: str, reason: str, user: User, actor: Actor
) -> AutomaticRule:
    rule = AutomaticRule.objects.select_related("model").get(pk=rule_id)
    require(user, "incident.command", model=rule.model.slug, team=rule.model.team)
    _check_reason(reason)
    armed = {"armed_by": user, "armed_at": Now()} if to == RuleState.ARMED else {}
    with transaction.atomic():
        turned = AutomaticRule.objects.filter(pk=rule.pk, replaced_at=None, state__in=only_from)
        if not turned.update(state=to, state_reason=reason[:500], **armed):
            raise RuleRefused("moved", gettext("The rule is not as you saw it. Look again."))
        if to == RuleState.OFF:
            _take_back(rule.model, "rule_gone", "The rule was disarmed.", actor)
        _put(rule, action, actor, reason)
    rule.refresh_from_db()
    return rule


def trip(*, rule: AutomaticRule, why: str, incident_ref: str, actor: Actor) -> bool:
    """The breaker: nothing starts by itself for the model until a person arms the rule again. False where it was not
    armed any more."""
    with transaction.atomic():
        armed = AutomaticRule.objects.filter(pk=rule.pk, replaced_at=None, state=RuleState.ARMED)
        if not armed.update(state=RuleState.TRIPPED, state_reason=why[:500]):
            return False
        _take_back(rule.model, "tripped", f"The rule has tripped: {why}", actor)
        _put(rule, "practice.rule.trip", actor, why, incident_ref)
    return True


def _take_back(model: Model, code: str, why: str, actor: Actor) -> None:
    """What was let start by the rule, and has not started yet, waits for people."""
    requests = leaves.withdraw(model=model.slug, why=why, actor=actor)
    waiting = Attempt.objects.filter(plan__request__in=requests, state=AttemptState.STARTED)
    waiting.update(state=AttemptState.ASKED, codes=[code], reason=why[:500], started_at=None)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise RuleRefused("reason_needed", gettext("Say in a sentence why; it goes on record."))


def _put(rule: AutomaticRule, action: str, actor: Actor, reason: str, incident_ref: str = "") -> None:
    record(
        action=action,
        target=Target("model", rule.model.slug, str(rule.number)),
        actor=actor,
        incident=incident_ref,
        reason=reason,
        data={"rule": facts(rule)},
    )
