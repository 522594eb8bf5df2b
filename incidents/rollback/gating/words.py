"""Registered gates in words, for plans, approvals and lists."""

import shlex
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from incidents.rollback.gating.models import GateKind

WORSE = {"up": _("a rise is bad"), "down": _("a fall is bad"), "either": _("any change is bad")}


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
        return gettext("no change of %(matters)s or more; %(worse)s") % {
            "matters": _percent(body["matters"]),
            "worse": WORSE[body["worse"]],
        }
    if kind == GateKind.HTTP:
        value = f", {body['pointer']} {_limits(body)}" if "pointer" in body else ""
        return gettext("status %(status)s%(value)s") % {"status": body["status"], "value": value}
    if kind == GateKind.HARDWARE:
        return _limits(body)
    if kind == GateKind.SUITE:
        return gettext("every test passes")
    return gettext("%(needed)s of %(count)s named people accept it, and nobody refuses") % {
        "needed": body["needed"],
        "count": len(body["people"]),
    }


def _series(body: Mapping[str, Any]) -> str:
    against = (
        (
            gettext("the hosts that have switched (%(query)s) against the others in the same time (%(baseline_query)s)")
            % {"query": body["query"], "baseline_query": body["baseline_query"]}
        )
        if body["compare"] == "canary_baseline"
        else (
            gettext("%(query)s after the switch against the %(window_seconds)s s before the run")
            % {"query": body["query"], "window_seconds": body["window_seconds"]}
        )
    )
    return gettext("asks %(source)s: %(against)s; a change of %(matters)s matters, %(worse)s") % {
        "source": body["source"],
        "against": against,
        "matters": _percent(body["matters"]),
        "worse": WORSE[body["worse"]],
    }


def _http(body: Mapping[str, Any]) -> str:
    return gettext("%(method)s %(url)s answers with %(answer)s") % {
        "method": body["method"],
        "url": body["url"],
        "answer": expected_of(GateKind.HTTP, body),
    }


def _hardware(body: Mapping[str, Any]) -> str:
    return gettext("each switched host's figure %(figure)s is %(limits)s") % {
        "figure": body["figure"],
        "limits": _limits(body),
    }


def _suite(body: Mapping[str, Any]) -> str:
    pinned = (
        gettext("; %(count)s of its files are checked by digest") % {"count": len(body["files"])}
        if body["files"]
        else ""
    )
    return gettext(
        "runs %(argv)s without a shell, at most %(seconds)s s and %(memory_mib)s MiB%(pinned)s; every test has to pass"
    ) % {
        "argv": shlex.join(body["argv"]),
        "seconds": body["seconds"],
        "memory_mib": body["memory_mib"],
        "pinned": pinned,
    }


def _acceptance(body: Mapping[str, Any]) -> str:
    named = dict(User.objects.filter(pseudonym__in=body["people"]).values_list("pseudonym", "username"))
    people = ", ".join(named.get(one, one) for one in body["people"])
    return gettext("%(needed)s of %(people)s accept it; one refusal fails it") % {
        "needed": body["needed"],
        "people": people,
    }


def _limits(body: Mapping[str, Any]) -> str:
    words = {"equals": gettext("equal to"), "at_least": gettext("at least"), "at_most": gettext("at most")}
    return " and ".join(f"{word} {body[name]}" for name, word in words.items() if name in body)


def _percent(share: str) -> str:
    return f"{100 * float(share):g} %"
