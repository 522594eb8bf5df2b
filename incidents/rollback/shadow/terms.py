"""What a plan asks of a shadow: as people wish for it, as the document holds it, and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.translation import gettext

from incidents.rollback.models import HostStep, StepState

DEFAULTS: dict[str, Any] = {
    "seconds": 600,
    "percent": 100,
    "rows": 1000,
    "max_differing": "0.05",
    "max_moved": "0.05",
    "max_failures": "0.01",
    "tolerance": "0",
}
MOST = {"seconds": 604_800, "percent": 100, "rows": 100_000_000}
SHARES = ("max_differing", "max_moved", "max_failures")
UNDECIDED = "shadow_inconclusive"
FAILED = "shadow_failed"
"""Why a run does not go on after its shadow, for programs."""


class ShadowRefused(ValueError):
    """What was asked for makes no sense; the message says what to give instead."""


@dataclass(frozen=True)
class Terms:
    """Hosts that mirror `percent` of their requests for `seconds`, and longer while fewer than `rows` were compared.
    Shares that the version must not surely exceed are parts of 1; `tolerance` is in the unit of a regression's
    output."""

    hosts: list[str]
    seconds: int
    percent: int
    rows: int
    max_differing: Decimal
    max_moved: Decimal
    max_failures: Decimal
    tolerance: Decimal

    @property
    def patience_seconds(self) -> int:
        """How long after `seconds` it is waited for an answer before a person is asked."""
        return max(60, self.seconds)


def entry(wish: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, Any]:
    """What the document holds. Numbers that are no whole ones are decimal strings. Raises ShadowRefused."""
    if unknown := sorted(set(wish) - set(DEFAULTS)):
        raise ShadowRefused(
            gettext("A shadow has no %(unknown)s. It takes %(names)s.")
            % {"unknown": unknown[0], "names": ", ".join(DEFAULTS)}
        )
    told = {**DEFAULTS, **{name: value for name, value in wish.items() if value is not None}}
    for name, most in MOST.items():
        if type(told[name]) is not int or not 0 < told[name] <= most:
            raise ShadowRefused(
                gettext("A shadow's %(name)s is a whole number from 1 to %(most)s.")
                % {"name": name, "most": f"{most:,}"}
            )
    for name in (*SHARES, "tolerance"):
        told[name] = _decimal(name, told[name])
    return {"hosts": list(hosts), **told}


def _decimal(name: str, value: Any) -> str:
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ShadowRefused(gettext("A shadow's %(name)s is a number.") % {"name": name}) from error
    if not number.is_finite() or number < 0 or (name in SHARES and not 0 < number < 1):
        raise ShadowRefused(
            (
                gettext("A shadow's %(name)s is between 0 and 1.")
                if name in SHARES
                else gettext("A shadow's %(name)s is at least 0.")
            )
            % {"name": name}
        )
    return format(number.normalize(), "f")


def terms_of(shadow: Mapping[str, Any]) -> Terms:
    """The document's entry, read."""
    numbers = {name: Decimal(shadow[name]) for name in (*SHARES, "tolerance")}
    return Terms(list(shadow["hosts"]), shadow["seconds"], shadow["percent"], shadow["rows"], **numbers)


def percent(share: Decimal | float) -> str:
    return f"{100 * float(share):.3g} %"


def in_words(shadow: Mapping[str, Any], number: int) -> str:
    """A line for the plan's page and its approvers."""
    if not shadow["hosts"]:
        return gettext(
            "not possible: the engine of no host in the first wave can mirror requests. Instead its canary "
            "is switched after its golden test, and the gates judge what it answers"
        )
    asked = terms_of(shadow)
    return gettext(
        "%(hosts)s: version %(number)s is asked %(percent)s %% of the requests as well for at least "
        "%(seconds)s s and %(rows)s rows, and answers nobody. It goes on only when surely at most "
        "%(max_differing)s of the outputs differ, scores move by at most %(max_moved)s on average, and "
        "at most %(max_failures)s of its requests fail; else nothing is switched"
    ) % {
        "hosts": ", ".join(asked.hosts),
        "number": number,
        "percent": asked.percent,
        "seconds": asked.seconds,
        "rows": f"{asked.rows:,}",
        "max_differing": percent(asked.max_differing),
        "max_moved": f"{asked.max_moved:f}",
        "max_failures": percent(asked.max_failures),
    }


def is_only_shadowed(step: HostStep, shadow: Mapping[str, Any] | None, shares: Sequence[int]) -> bool:
    """The host's requests were mirrored at most: whatever the run did there, all of them were answered as before."""
    mirrored = shadow is not None and step.host.name in shadow["hosts"] and not step.switch_calls
    return mirrored and not (shares and StepState.COMPARED in step.marks)
