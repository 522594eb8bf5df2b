"""Registered gates in words, for plans, approvals and lists."""

import shlex
from collections.abc import Mapping
from typing import Any

from accounts.models import User
from incidents.rollback.gating.models import GateKind

WORSE = {"up": "a rise is bad", "down": "a fall is bad", "either": "any change is bad"}


def sentence_of(kind: str, body: Mapping[str, Any]) -> str:
    """How a gate finds its answer."""
    return {
        GateKind.SERIES: _series,
        GateKind.HTTP: _http,
        GateKind.HARDWARE: _hardware,
        GateKind.SUITE: _suite,
        GateKind.ACCEPTANCE: _acceptance,
    }[GateKind(kind)](body)


def expected_of(kind: str, body: Mapping[str, Any]) -> str:
    """What counts as a pass."""
    if kind == GateKind.SERIES:
        return f"no change of {_percent(body['matters'])} or more; {WORSE[body['worse']]}"
    if kind == GateKind.HTTP:
        value = f", {body['pointer']} {_limits(body)}" if "pointer" in body else ""
        return f"status {body['status']}{value}"
    if kind == GateKind.HARDWARE:
        return _limits(body)
    if kind == GateKind.SUITE:
        return "every test passes"
    return f"{body['needed']} of {len(body['people'])} named people accept it, and nobody refuses"


def _series(body: Mapping[str, Any]) -> str:
    against = (
        f"the hosts that have switched ({body['query']}) against the others in the same time ({body['baseline_query']})"
        if body["compare"] == "canary_baseline"
        else f"{body['query']} after the switch against the {body['window_seconds']} s before the run"
    )
    return f"asks {body['source']}: {against}; a change of {_percent(body['matters'])} matters, {WORSE[body['worse']]}"


def _http(body: Mapping[str, Any]) -> str:
    return f"{body['method']} {body['url']} answers with {expected_of(GateKind.HTTP, body)}"


def _hardware(body: Mapping[str, Any]) -> str:
    return f"each switched host's figure {body['figure']} is {_limits(body)}"


def _suite(body: Mapping[str, Any]) -> str:
    pinned = f"; {len(body['files'])} of its files are checked by digest" if body["files"] else ""
    return (
        f"runs {shlex.join(body['argv'])} without a shell, at most {body['seconds']} s and {body['memory_mib']} MiB"
        f"{pinned}; every test has to pass"
    )


def _acceptance(body: Mapping[str, Any]) -> str:
    named = dict(User.objects.filter(pseudonym__in=body["people"]).values_list("pseudonym", "username"))
    people = ", ".join(named.get(one, one) for one in body["people"])
    return f"{body['needed']} of {people} accept it; one refusal fails it"


def _limits(body: Mapping[str, Any]) -> str:
    words = {"equals": "equal to", "at_least": "at least", "at_most": "at most"}
    return " and ".join(f"{word} {body[name]}" for name, word in words.items() if name in body)


def _percent(share: str) -> str:
    return f"{100 * float(share):g} %"
