"""What people do here: have an endpoint watched, stop watching it, change a rule."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.clock import database_now
from monitoring import alerts
from monitoring.models import Monitor, Rule, RuleKind
from monitoring.questions import DEFAULTS, checked_params
from registry.models import Endpoint

SEVERITIES = {
    RuleKind.ACCURACY: 1,
    RuleKind.INPUT_DRIFT: 2,
    RuleKind.OUTPUT_DRIFT: 2,
    RuleKind.LATENCY: 2,
    RuleKind.JOINT_DRIFT: 3,
    RuleKind.CONCEPT_DRIFT: 2,
}

CHANGEABLE = ("params", "for_windows", "clear_windows", "min_rows", "severity", "enabled")
RANGES = {"for_windows": (1, 100), "clear_windows": (1, 100), "min_rows": (30, 10_000_000), "severity": (1, 4)}


class Refused(ValueError):
    """The change is not made. The message is a sentence that says what would be acceptable."""


def watch_endpoint(
    *,
    endpoint: Endpoint,
    actor: Actor,
    window_seconds: int = 300,
    grace_seconds: int = 30,
    label_delay_seconds: int = 60,
    min_rows: int = 200,
    for_windows: int = 2,
    clear_windows: int = 3,
) -> Monitor:
    """Watch the endpoint from the present window on, with a rule of each kind at its default floors.

    An endpoint that is watched already gets the new lengths; its rules stay as they are. Raises Refused.
    """
    _check("window_seconds", window_seconds, 1, 86_400)
    _check("grace_seconds", grace_seconds, 0, 86_400)
    _check("label_delay_seconds", label_delay_seconds, 0, 30 * 86_400)
    for name, value in (("min_rows", min_rows), ("for_windows", for_windows), ("clear_windows", clear_windows)):
        _check(name, value, *RANGES[name])
    lengths = {
        "window_seconds": window_seconds,
        "grace_seconds": grace_seconds,
        "label_delay_seconds": label_delay_seconds,
        "enabled": True,
        "next_window_at": _aligned(database_now(), window_seconds),
    }
    with transaction.atomic():
        monitor, _ = Monitor.objects.update_or_create(endpoint=endpoint, defaults=lengths)
        Rule.objects.bulk_create(
            [
                Rule(
                    endpoint=endpoint,
                    kind=kind,
                    params=DEFAULTS[kind],
                    severity=SEVERITIES[kind],
                    min_rows=min_rows,
                    for_windows=for_windows,
                    clear_windows=clear_windows,
                )
                for kind in RuleKind
            ],
            ignore_conflicts=True,
        )
        record(
            action="monitor.watch",
            target=Target("endpoint", endpoint.slug),
            actor=actor,
            data={name: value for name, value in lengths.items() if name.endswith("seconds")},
        )
    return monitor


def unwatch_endpoint(*, endpoint: Endpoint, reason: str, actor: Actor) -> bool:
    """Open no more windows of the endpoint and end its rules' alerts. False when it was not watched."""
    with transaction.atomic():
        if not Monitor.objects.filter(endpoint=endpoint, enabled=True).update(enabled=False):
            return False
        alerts.end_all(Rule.objects.filter(endpoint=endpoint), "The endpoint is no longer watched.")
        record(action="monitor.unwatch", target=Target("endpoint", endpoint.slug), actor=actor, reason=reason)
    return True


def change_rule(*, rule: Rule, changes: dict[str, Any], reason: str, actor: Actor) -> Rule:
    """Change limits of a rule; windows judged from now on are held to them. Raises Refused."""
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown:
        raise Refused(
            gettext("%(unknown)s of a rule cannot be changed; %(names)s can.")
            % {"unknown": unknown[0], "names": ", ".join(CHANGEABLE)}
        )
    if not reason.strip():
        raise Refused(gettext("Say why the rule is changed; the reason goes on record."))
    checked = {name: _checked(rule.kind, name, value) for name, value in changes.items()}
    with transaction.atomic():
        locked = Rule.objects.select_for_update().get(pk=rule.pk)
        before = {name: getattr(locked, name) for name in checked}
        for name, value in checked.items():
            setattr(locked, name, value)
        locked.save(update_fields=list(checked))
        if not locked.enabled:
            alerts.end_all([locked], "The rule was switched off.")
        record(
            action="rule.change",
            target=Target("rule", str(rule.pk)),
            actor=actor,
            data={"kind": rule.kind, "before": _texts(before), "after": _texts(checked)},
            reason=reason,
        )
    return locked


def _checked(kind: str, name: str, value: Any) -> Any:
    if name == "params":
        if not isinstance(value, dict):
            raise Refused(gettext("params must be an object of numbers."))
        try:
            return checked_params(kind, value)
        except ValueError as error:
            raise Refused(str(error)) from error
    if name == "enabled":
        if not isinstance(value, bool):
            raise Refused(gettext("enabled must be true or false."))
        return value
    _check(name, value, *RANGES[name])
    return value


def _check(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused(
            gettext("%(name)s must be a whole number from %(low)s to %(high)s.")
            % {"name": name, "low": f"{low:,}", "high": f"{high:,}"}
        )


def _texts(values: dict[str, Any]) -> dict[str, Any]:
    """Values without floats, as the record wants them."""
    return {
        name: {key: str(number) for key, number in value.items()} if isinstance(value, dict) else value
        for name, value in values.items()
    }


def _aligned(moment: datetime, seconds: int) -> datetime:
    """The start of the window of `seconds`, counted from the epoch, that holds the moment."""
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)
