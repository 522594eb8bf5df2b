"""An event's data as people read it: what was before and after, and nested facts as tables and lists."""

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from audit import names

HEX = re.compile(r"(sha256:)?[0-9a-f]{32,}")
PERSON = re.compile(r"(u-[0-9a-z-]+|svc:[a-z0-9_-]+)")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
WAS = re.compile(r"(.+)_before|before_(.+)|old_(.+)|previous_(.+)")
OF_BEFORE = {"incident.set_severity": "severity", "incident.hold_role": "holder"}
REPLACING = ("policy.replace",)


@dataclass(frozen=True)
class Shown:
    """A value. ``kind``: none, flag, text, digest, person, time, facts, list or table.

    ``text`` is the value itself, ``name`` what a person is called; ``facts`` are labelled values; ``items`` the members
    of a list; a table has ``columns``, and rows of values in ``rows``.
    """

    kind: str
    text: str = ""
    name: str = ""
    facts: list[tuple[str, "Shown"]] = field(default_factory=list)
    items: list["Shown"] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list["Shown"]] = field(default_factory=list)


@dataclass(frozen=True)
class Turned:
    """What something was, and what it is from then on."""

    label: str
    before: Shown
    after: Shown


@dataclass(frozen=True)
class Facts:
    """An event's data: what it changed, and what else it says."""

    turned: list[Turned]
    rest: list[tuple[str, Shown]]


def facts_of(action: str, data: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Facts:
    """``before`` is the data of the event that this one replaces, where its action says the whole state anew."""
    called = names.display(_people(data))
    pairs, used = _pairs(action, data)
    if before is not None and action in REPLACING:
        pairs += _differences(_state(before), _state(data))
    turned = [Turned(label, shown(old, called), shown(new, called)) for label, old, new in pairs if old != new]
    rest = [(_label(key), shown(value, called)) for key, value in data.items() if key not in used]
    return Facts(turned, rest)


def _state(data: Mapping[str, Any]) -> dict[str, Any]:
    """A policy's event: its own facts and what stands beside them."""
    own = data.get("policy")
    beside = {key: data[key] for key in ("sign_off_required", "automatic_allowed") if key in data}
    return {**(own if isinstance(own, dict) else {}), **beside}


def _pairs(action: str, data: Mapping[str, Any]) -> tuple[list[tuple[str, Any, Any]], set[str]]:
    """Label, before and after; and which keys of the data are told by them."""
    old, new = data.get("before"), data.get("after")
    if isinstance(old, dict) and isinstance(new, dict):
        return _differences(old, new), {"before", "after"}
    if "before" in data and "after" in data:
        return [("value", old, new)], {"before", "after"}
    if "before" in data and action in OF_BEFORE and OF_BEFORE[action] in data:
        key = OF_BEFORE[action]
        return [(_label(key), old, data[key])], {"before", key}
    found, used = [], set()
    if "from" in data and "to" in data and not action.startswith("delegation."):
        found.append(("version" if HEX.fullmatch(str(data["to"])) else "state", data["from"], data["to"]))
        used |= {"from", "to"}
    for key in data:
        told = WAS.fullmatch(key)
        name = next((part for part in told.groups() if part), "") if told else ""
        if name in data:
            found.append((_label(name), data[key], data[name]))
            used |= {key, name}
    return found, used


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(_label(key), old.get(key), new.get(key)) for key in [*old, *(key for key in new if key not in old)]]


def _label(key: str) -> str:
    return key.replace("_", " ")


def shown(value: Any, called: Mapping[str, str]) -> Shown:
    """The value as a reader sees it; an empty one, of whatever kind, is none."""
    if value is None or value in ("", [], {}):
        return Shown("none")
    if isinstance(value, bool):
        return Shown("flag", "yes" if value else "no")
    if isinstance(value, Mapping):
        return Shown("facts", facts=[(_label(str(key)), shown(inner, called)) for key, inner in value.items()])
    if isinstance(value, list):
        return _many(value, lambda inner: shown(inner, called))
    return _plain(str(value), called)


def _many(values: list[Any], show: Callable[[Any], Shown]) -> Shown:
    if all(isinstance(value, Mapping) for value in values):
        columns = list(dict.fromkeys(key for value in values for key in value))
        rows = [[show(value.get(key)) for key in columns] for value in values]
        return Shown("table", columns=[_label(column) for column in columns], rows=rows)
    return Shown("list", items=[show(value) for value in values])


def _plain(text: str, called: Mapping[str, str]) -> Shown:
    if HEX.fullmatch(text):
        return Shown("digest", text)
    if PERSON.fullmatch(text):
        return Shown("person", text, called.get(text, text))
    if INSTANT.fullmatch(text):
        try:
            datetime.datetime.fromisoformat(text)
        except ValueError:
            return Shown("text", text)
        return Shown("time", text)
    return Shown("text", text)


def _people(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _people(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _people(inner)
    elif isinstance(value, str) and PERSON.fullmatch(value):
        yield value
