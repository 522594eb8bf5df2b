"""What a rule makes of an alert: the same decision for an alert that comes and for a preview of those that came."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import translate
from functools import lru_cache

from django.utils.translation import gettext

from incidents.grouping.models import GroupingRule
from monitoring.alerts import fingerprint

Labels = Mapping[str, str]
LINE = re.compile(r"([A-Za-z_][\w.-]*)\s*(!=|=)\s*(.*)")
MOST_LINES, MOST_VALUE, MOST_STARS = 20, 200, 4


class NotAMatcher(ValueError):
    """A line is not `name = value` or `name != value`. The message is a sentence."""


def read_matchers(text: str) -> list[list[str]]:
    """Lines of `name = value` and `name != value`, in which each * stands for anything. Raises NotAMatcher."""
    found = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        match = LINE.fullmatch(line)
        if match is None:
            raise NotAMatcher(
                gettext("“%(line)s” is not read: write a label, = or !=, and a value, as tier = gold.")
                % {"line": line[:60]}
            )
        name, operator, value = match[1], match[2], match[3].strip().strip('"')
        if len(value) > MOST_VALUE or value.count("*") > MOST_STARS:
            raise NotAMatcher(
                gettext("The value for %(name)s may have %(most_value)s characters and %(most_stars)s asterisks.")
                % {"name": name, "most_value": MOST_VALUE, "most_stars": MOST_STARS}
            )
        found.append([name, operator, value])
    if len(found) > MOST_LINES:
        raise NotAMatcher(gettext("A rule may ask for %(most_lines)s labels.") % {"most_lines": MOST_LINES})
    return found


def written(matchers: Iterable[Sequence[str]]) -> str:
    """The same as text, a line each."""
    return "\n".join(" ".join(one) for one in matchers)


def matches(rule: GroupingRule, labels: Labels) -> bool:
    """Whether the alert has all that the rule asks for. A label that it lacks counts as empty."""
    return all(_is(labels.get(name, ""), value) == (sign == "=") for name, sign, value in rule.matchers)


def _is(found: str, wanted: str) -> bool:
    return found == wanted if "*" not in wanted else bool(_pattern(wanted).fullmatch(found))


@lru_cache(maxsize=1024)
def _pattern(wanted: str) -> re.Pattern[str]:
    # Only the asterisk means something here; a question mark and brackets are themselves.
    return re.compile(translate(re.sub(r"([?\[])", r"[\1]", wanted)))


def first_match(rules: Iterable[GroupingRule], labels: Labels) -> GroupingRule | None:
    """The rule that decides about an alert; None where none matches."""
    return next((rule for rule in rules if matches(rule, labels)), None)


def shared(rule: GroupingRule, labels: Labels) -> dict[str, str]:
    """The values of the labels that make alerts of this rule one."""
    return {name: labels.get(name, "") for name in rule.by}


def key_of(rule: GroupingRule, labels: Labels) -> str:
    return fingerprint("group", rule.pk, *(part for pair in shared(rule, labels).items() for part in pair))


def severity_of(rule: GroupingRule, labels: Labels, told: int) -> int:
    """The severity that the rule gives an alert; `told` where it says nothing of its label's value."""
    value = labels.get(rule.severity_label, "") if rule.severity_label else ""
    return int(rule.severities.get(value, rule.severities.get("*", told)))


def is_enough(rule: GroupingRule, fired: Iterable[datetime]) -> bool:
    """Whether so many fired within the rule's time, at whatever moment, that it is an incident."""
    moments = sorted(fired)
    within = timedelta(seconds=rule.within_seconds)
    return any(last - first <= within for first, last in zip(moments, moments[rule.at_least - 1 :], strict=False))


def is_late(rule: GroupingRule, last_at: datetime, now: datetime) -> bool:
    """Whether an alert that fires now comes too long after the group's last one to join it."""
    return bool(rule.window_seconds) and now - last_at > timedelta(seconds=rule.window_seconds)


@dataclass(frozen=True)
class Seen:
    """An alert that came, as a preview needs it. `default` is what it would be grouped by without a rule."""

    labels: Labels
    default: str
    fired_at: datetime
    ended_at: datetime | None
    severity: int
    summary: str


@dataclass
class Gathered:
    """Alerts that would have been one incident, or would have waited for more of their kind."""

    rule: GroupingRule | None
    labels: dict[str, str]
    alerts: list[Seen] = field(default_factory=list)
    opened_at: datetime | None = None

    @property
    def severity(self) -> int:
        if self.rule is None:
            return min(one.severity for one in self.alerts)
        return min(severity_of(self.rule, one.labels, one.severity) for one in self.alerts)

    def is_over(self, now: datetime) -> bool:
        """An incident counts as over when all its alerts are; nobody knows when people would have resolved it."""
        ended = all(one.ended_at is not None and one.ended_at <= now for one in self.alerts)
        if self.rule is not None and self.opened_at is not None and is_late(self.rule, self.alerts[-1].fired_at, now):
            return True
        return self.opened_at is not None and ended

    def add(self, one: Seen) -> None:
        self.alerts.append(one)
        enough = self.rule is None or is_enough(self.rule, [at.fired_at for at in self.alerts])
        if self.opened_at is None and enough:
            self.opened_at = one.fired_at


def gathered(alerts: Iterable[Seen], rules: Sequence[GroupingRule]) -> list[Gathered]:
    """What these rules would have made of the alerts, in the order in which they fired."""
    going: dict[str, Gathered] = {}
    found: list[Gathered] = []
    for one in sorted(alerts, key=lambda one: one.fired_at):
        rule = first_match(rules, one.labels)
        key = key_of(rule, one.labels) if rule is not None else one.default
        group = going.get(key)
        if group is None or group.is_over(one.fired_at):
            group = going[key] = Gathered(rule, shared(rule, one.labels) if rule is not None else {})
            found.append(group)
        group.add(one)
    return found
