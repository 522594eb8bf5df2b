"""The verbs on grouping rules: each makes one change, with one event beside it."""

from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from incidents.errors import Conflict, IncidentError
from incidents.grouping.models import GroupingRule
from incidents.grouping.placing import let_wait_no_more

ORDER_LOCK = 7_105_001
MOST_RULES = 200
DAY = 86_400


@dataclass(frozen=True)
class Terms:
    """What a rule says; see GroupingRule."""

    name: str
    matchers: list[list[str]]
    by: list[str]
    window_seconds: int = 0
    at_least: int = 1
    within_seconds: int = 600
    severity_label: str = ""
    severities: dict[str, int] | None = None

    def fields(self) -> dict[str, Any]:
        return vars(self) | {"name": self.name.strip(), "severities": self.severities or {}}

    def check(self) -> None:
        """Raises IncidentError where the terms mean nothing."""
        if not self.name.strip():
            raise IncidentError(gettext("Give the rule a name."))
        if not 1 <= self.at_least <= 1000 or not 0 < self.within_seconds <= DAY:
            raise IncidentError(gettext("Ask for 1 to 1,000 alerts, within at most a day."))
        if not 0 <= self.window_seconds <= 7 * DAY:
            raise IncidentError(
                gettext("Let alerts join for at most seven days after the last one; 0 is while it is open.")
            )
        if any(severity not in (1, 2, 3, 4) for severity in (self.severities or {}).values()):
            raise IncidentError(gettext("Severity is 1, 2, 3 or 4; 1 is worst."))
        if self.severities and not self.severity_label:
            raise IncidentError(gettext("Name the label whose values stand for severities."))


@transaction.atomic
def add_rule(*, terms: Terms, actor: Actor) -> GroupingRule:
    """A new rule, asked after all others. Raises IncidentError."""
    terms.check()
    _hold_order()
    live = GroupingRule.objects.filter(retired_at=None)
    if live.count() >= MOST_RULES:
        raise IncidentError(
            gettext("There are %(most_rules)s rules already. Retire one first.") % {"most_rules": MOST_RULES}
        )
    last = live.aggregate(last=Max("position"))["last"] or 0
    rule = _written(lambda: GroupingRule.objects.create(position=last + 1, **terms.fields()), terms.name)
    _record("grouping_rule.add", rule, actor, terms.fields())
    return rule


@transaction.atomic
def change_rule(*, rule: GroupingRule, terms: Terms, seen_revision: int, actor: Actor) -> GroupingRule:
    """Other terms from now on; alerts that have an incident stay where they are, and those that waited for more of
    their kind are placed anew. Raises IncidentError, Conflict."""
    terms.check()
    same = GroupingRule.objects.filter(pk=rule.pk, revision=seen_revision, retired_at=None)
    changed = _written(lambda: same.update(revision=F("revision") + 1, **terms.fields()), terms.name)
    rule.refresh_from_db()
    if not changed:
        raise Conflict(rule.revision)
    let_wait_no_more(rule)
    _record("grouping_rule.change", rule, actor, terms.fields())
    return rule


@transaction.atomic
def move_rule(*, rule: GroupingRule, place: int, actor: Actor) -> None:
    """Have the rule asked at that place, from 1. Raises IncidentError where it was retired."""
    _hold_order()
    rules = list(GroupingRule.objects.filter(retired_at=None))
    if rule not in rules:
        raise IncidentError(gettext("The rule %(name)s was retired. Nothing was changed.") % {"name": rule.name})
    rules.remove(rule)
    rules.insert(max(0, place - 1), rule)
    for position, one in enumerate(rules, start=1):
        GroupingRule.objects.filter(pk=one.pk).update(position=position)
    _record("grouping_rule.move", rule, actor, {"place": rules.index(rule) + 1})


@transaction.atomic
def retire_rule(*, rule: GroupingRule, actor: Actor) -> None:
    """Ask it no more. What it gathered stays as it is, but what waited for more of its kind is placed anew. Raises
    IncidentError where it was retired before."""
    if not GroupingRule.objects.filter(pk=rule.pk, retired_at=None).update(retired_at=Now()):
        raise IncidentError(gettext("The rule %(name)s was retired before. Nothing was changed.") % {"name": rule.name})
    let_wait_no_more(rule)
    _record("grouping_rule.retire", rule, actor, {})


def _hold_order() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ORDER_LOCK])


def _written(write: Any, name: str) -> Any:
    try:
        with transaction.atomic():
            return write()
    except IntegrityError as taken:
        raise IncidentError(
            gettext("There is a rule %(name)s already. Choose another name.") % {"name": name.strip()}
        ) from taken


def _record(action: str, rule: GroupingRule, actor: Actor, data: dict[str, Any]) -> None:
    target = Target("grouping_rule", str(rule.pk), str(rule.revision))
    record(action=action, target=target, actor=actor, data=data | {"name": rule.name})
