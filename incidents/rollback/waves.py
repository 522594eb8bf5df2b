"""How the hosts of a plan are put into waves: by number, by share of the fleet, or by a label such as the rack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext

NAME_LENGTH = 40


class WavesRefused(ValueError):
    """The waves that were asked for make no sense; the message says what to give instead."""


@dataclass(frozen=True)
class Member:
    """A host by name with its labels."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class PlanWave:
    """`quorum`: how many of its hosts must succeed for the run to go on; 0 leaves that to the budgets and the gates."""

    name: str
    hosts: list[str]
    quorum: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        return {"name": self.name, "hosts": self.hosts} | ({"quorum": self.quorum} if self.quorum else {})


def default_waves(hosts: Sequence[str], sizes: Sequence[int] | None = None) -> list[PlanWave]:
    """One canary host first, then the rest; or waves of the given sizes, whose last takes what is left over."""
    wanted = [size for size in (sizes or [1]) if size > 0]
    waves: list[PlanWave] = []
    left = list(hosts)
    for size in wanted:
        if left:
            waves.append(PlanWave("", left[:size]))
            left = left[size:]
    if left:
        waves.append(PlanWave("", left))
    return _named(waves)


def lay_out(
    members: Sequence[Member], by: Mapping[str, Any], quorum: Mapping[str, int] | None = None
) -> list[PlanWave]:
    """The waves for `by`: {"count": [1, 4]} hosts, {"percent": [10, 50, 100]} of them done after each wave, or
    {"label": "rack"} one wave for each value of that label after one canary host.

    `quorum` is {"percent": 75} or {"hosts": 2} of each wave. Raises WavesRefused.
    """
    names = [member.name for member in members]
    if len(by) != 1:
        raise WavesRefused(gettext("Waves are made by count, by percent or by label. Name one of these."))
    [(how, value)] = by.items()
    if how == "label":
        waves = _by_label(members, str(value))
    elif how == "percent":
        waves = default_waves(names, _sizes(len(names), _numbers(value, "percent", 100)))
    elif how == "count":
        waves = default_waves(names, _numbers(value, "count", 100_000))
    else:
        raise WavesRefused(
            gettext("Waves can't be made by %(how)s. Make them by count, by percent or by label.") % {"how": how}
        )
    return [replace(wave, quorum=_quorum(quorum, len(wave.hosts))) for wave in waves]


def _numbers(value: Any, how: str, most: int) -> list[int]:
    if not isinstance(value, (list, tuple)) or not value:
        raise WavesRefused(gettext("Waves by %(how)s need a list of whole numbers, such as 1, 10, 50.") % {"how": how})
    if any(type(number) is not int or not 0 < number <= most for number in value):
        raise WavesRefused(
            gettext("Waves by %(how)s need whole numbers from 1 to %(most)s.") % {"how": how, "most": most}
        )
    return list(value)


def _sizes(total: int, shares: list[int]) -> list[int]:
    """Sizes of waves after which at least these shares of the hosts, in percent, are done."""
    if shares != sorted(set(shares)):
        raise WavesRefused(
            gettext("The percentages of the waves say how much is done after each, so they have to grow.")
        )
    done = [-(-total * share // 100) for share in shares]
    return [after - before for before, after in zip([0, *done], done, strict=False) if after > before]


def _by_label(members: Sequence[Member], label: str) -> list[PlanWave]:
    if not any(label in member.labels for member in members):
        raise WavesRefused(
            gettext("No host of this endpoint has the label %(label)r. Choose one that they have.") % {"label": label}
        )
    canary, *others = members
    groups: dict[str, list[str]] = {}
    for member in others:
        groups.setdefault(str(member.labels.get(label, "")), []).append(member.name)
    ordered = sorted(groups.items(), key=lambda entry: (entry[0] == "", entry[0]))
    waves = [PlanWave(f"{label} {value}" if value else f"without {label}", hosts) for value, hosts in ordered]
    cut = [replace(wave, name=wave.name[:NAME_LENGTH]) for wave in waves]
    return [PlanWave("canary" if cut else "all", [canary.name]), *cut]


def _quorum(quorum: Mapping[str, int] | None, size: int) -> int:
    if quorum is None:
        return 0
    if len(quorum) != 1 or not set(quorum) <= {"percent", "hosts"}:
        raise WavesRefused(
            gettext("A quorum is a percentage of each wave's hosts or a number of them. Name one of the two.")
        )
    [(how, value)] = quorum.items()
    if type(value) is not int or not 0 < value <= (100 if how == "percent" else 100_000):
        raise WavesRefused(gettext("A quorum is a whole number above 0, of percent at most 100."))
    return -(-size * value // 100) if how == "percent" else min(size, value)


def _named(waves: list[PlanWave]) -> list[PlanWave]:
    if len(waves) == 1:
        return [replace(waves[0], name="all")]
    names = ["canary"] + [f"wave {number}" for number in range(2, len(waves))] + ["rest"]
    return [replace(wave, name=name) for name, wave in zip(names, waves, strict=False)]
