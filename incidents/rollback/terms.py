"""A plan in words: what it changes, host by host, and on which terms."""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext

from accounts.approvals.subjects import diff_row
from incidents.rollback.document import PlanDocument
from incidents.rollback.gating.planned import asked_at
from incidents.rollback.gating.planned import terms as gate_terms
from incidents.rollback.models import STEERING_KINDS, Plan
from incidents.rollback.shadow.terms import in_words as shadow_in_words
from registry.composing import part_sentence
from registry.models import Endpoint, Version

LARGE = 8
"""More hosts than this are shown in waves that fold."""


def steering_title(endpoint: Endpoint, document: PlanDocument) -> str:
    """A plan that changes no version, in a line."""
    named = {"endpoint": endpoint.slug, "hosts": names_of(document.hosts)}
    if document.outcome == "freeze":
        until = document.body["freeze"]["until"][:16].replace("T", " ")
        return gettext("Freeze %(endpoint)s until %(until)s UTC") % {**named, "until": until}
    if document.outcome == "drain":
        return gettext("Take %(hosts)s of %(endpoint)s out of service") % named
    return gettext("Bring %(hosts)s of %(endpoint)s back into service") % named


def plan_rows(plan: Plan) -> list[dict[str, str]]:
    """What the plan changes, as `parts/plan_diff.html` takes it: first the version and its parts, then host by host."""
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        return _steering_rows(document)
    change = _number(plan.from_version), _number(plan.to_version)
    rows = [diff_row(gettext("endpoint"), gettext("version"), *change)]
    before, after = _components(plan.from_version), _components(plan.to_version)
    rows += [
        diff_row(gettext("endpoint"), name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
    ]
    for number, wave in enumerate(document.waves, start=1):
        in_wave = gettext("wave %(number)s") % {"number": number}
        if len(document.hosts) > LARGE:
            serve = gettext("%(hosts)s serve") % {"hosts": names_of(wave.hosts)}
            rows.append(diff_row(f"{in_wave} · {wave.name}", serve, *change))
        else:
            rows += [diff_row(f"{host} · {in_wave}", gettext("serves"), *change) for host in wave.hosts]
    return rows


def _steering_rows(document: PlanDocument) -> list[dict[str, str]]:
    if document.outcome == "freeze":
        until = document.body["freeze"]["until"][:16].replace("T", " ")
        none = gettext("none until %(until)s UTC, unless it is lifted") % {"until": until}
        return [diff_row(gettext("endpoint"), gettext("deployments"), gettext("may happen"), none)]
    change = [gettext("in service"), gettext("out of service")]
    before, after = change if document.outcome == "drain" else reversed(change)
    return [diff_row(host, gettext("requests"), before, after) for host in document.hosts]


def _number(version: Version | None) -> str:
    if version is None:
        return gettext("nothing")
    return gettext("version %(number)s (%(digest)s)") % {"number": version.number, "digest": version.digest[:12]}


def _components(version: Version | None) -> dict[str, str]:
    """Each component's files by the first digits of their digests."""
    if version is None:
        return {}
    found: dict[str, list[str]] = {}
    for entry in version.files.all():
        found.setdefault(entry.component, []).append(entry.artifact_id[:12])
    return {component: ", ".join(sorted(digests)) for component, digests in found.items()}


def plan_terms(plan: Plan) -> list[dict[str, str]]:
    """The plan's terms in words: waves, gates, checks, what happens on failure."""
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        return _steering_terms(document)
    failure = gettext("goes back by itself") if document.compensates else gettext("halts and waits for a person")
    later = [gate.name for gate in asked_at(document.body["gates"], "watch")]
    watched = ", ".join([*(check["name"] for check in document.body["checks"]), *later])
    may_fail = gettext("%(budget)s of %(hosts)s") if document.failure_budget else gettext("none")
    return [
        *_part_terms(plan, document),
        *_shadow_terms(plan, document),
        _term(gettext("On each host"), _strategy_in_words(document)),
        _term(gettext("Waves"), _waves_in_words(document)),
        _term(
            gettext("Between waves"),
            gettext("at least %(seconds)s s, then the gates: %(gates)s")
            % {"seconds": document.wave_soak_seconds, "gates": _gates_in_words(document)},
        ),
        *gate_terms(document.body["gates"]),
        _term(gettext("If a gate fails"), failure),
        _least(document),
        _term(gettext("Hosts that may be absent"), str(document.tolerated_absences)),
        _term(
            gettext("Hosts that may fail"), may_fail % {"budget": document.failure_budget, "hosts": len(document.hosts)}
        ),
        _term(gettext("Afterwards watched"), f"{document.watch_seconds} s: {watched}"),
        _term(gettext("The old version stays warm"), _warm_in_words(document)),
    ]


def _term(label: str, value: str) -> dict[str, str]:
    return {"label": label, "value": value}


def _least(document: PlanDocument) -> dict[str, str]:
    return _term(
        gettext("Hosts that serve all the while"),
        gettext("at least %(number)s") % {"number": document.min_hosts_serving},
    )


def _gates_in_words(document: PlanDocument) -> str:
    asked = [gate["name"] for gate in document.body["gates"] if gate.get("when") != "watch"]
    gates = ", ".join(asked) or gettext("switched off, on record")
    if "latency" not in asked or not document.uncompared:
        return gates
    return gettext(
        "%(gates)s (latency not on %(hosts)s, where the old version is gone and nothing can be compared)"
    ) % {"gates": gates, "hosts": names_of(document.uncompared)}


def _part_terms(plan: Plan, document: PlanDocument) -> list[dict[str, str]]:
    """What a composed target is made of, and what its expected outputs are worth."""
    if "part" not in document.body:
        return []
    made = gettext("Version %(number)s is") % {"number": plan.to_version.number}
    return [
        _term(made, part_sentence(plan.to_version)),
        _term(gettext("What is expected of it"), str(plan.evidence.get("rehearsal", ""))),
    ]


def _shadow_terms(plan: Plan, document: PlanDocument) -> list[dict[str, str]]:
    if document.shadow is None:
        return []
    return [_term(gettext("First, as a shadow"), shadow_in_words(document.shadow, plan.to_version.number))]


def _steering_terms(document: PlanDocument) -> list[dict[str, str]]:
    back = gettext("Taken back by")
    if document.outcome == "freeze":
        return [_term(back, gettext("lifting the freeze on the endpoint's page"))]
    if document.outcome == "drain":
        return [_least(document), _term(back, gettext("a plan that brings them back"))]
    golden = _term(gettext("Before a host comes back"), gettext("its version gives the golden outputs"))
    return [golden, _term(back, gettext("a plan that drains them"))]


def _warm_in_words(document: PlanDocument) -> str:
    if document.recreated:
        return gettext("no: %(hosts)s can hold one only, so that going back takes as long as this") % {
            "hosts": names_of(document.recreated)
        }
    named = {"seconds": document.undo_seconds, "hosts": names_of(document.kept)}
    if not document.kept:
        warm = f"{document.undo_seconds} s"
    elif document.compensates:
        said = gettext("%(seconds)s s; %(hosts)s, whose engine drops it at the switch, loads it again after each wave")
        warm = said % named
    else:
        said = gettext(
            "%(seconds)s s; %(hosts)s, whose engine drops it at the switch, loads it again once all hosts have switched"
        )
        warm = said % named
    if not document.cold:
        return warm
    cold = {"hosts": names_of(document.cold)}
    why = gettext("not on %(hosts)s, whose engine drops it at the switch: going back loads it again there") % cold
    return why if len(document.cold) == len(document.hosts) else f"{warm}; {why}"


def _strategy_in_words(document: PlanDocument) -> str:
    if document.recreated:
        return gettext(
            "%(hosts)s: taken out of service, the old version unloaded once no request came for 2 s (or after "
            "%(seconds)s s), the new one loaded and tested, then back; one after the other, or as many as can be spared"
        ) % {"hosts": names_of(document.recreated), "seconds": document.body["drain_seconds"]}
    if document.strategy == "weighted":
        hosts = names_of(document.body["shared"])
        if not hosts:
            return gettext("no canary's engine can share requests, so each is switched at once after its golden test")
        shares = gettext(", then ").join(f"{share} %" for share in document.shares)
        return gettext(
            "%(hosts)s lets the new version take %(shares)s of its requests, with the gate at each, then all"
        ) % {"hosts": hosts, "shares": shares}
    if loads := document.loads_at_switch:
        return gettext(
            "both versions in memory, one switch, no request dropped; at it the engine of %(hosts)s loads again, and "
            "answers with the old version meanwhile"
        ) % {"hosts": names_of(loads)}
    return gettext("both versions in memory, one switch, no request dropped")


def names_of(hosts: Sequence[str], most: int = 4) -> str:
    """Host names for a sentence: all of a few, of many the first and how many more."""
    if len(hosts) <= most + 1:
        return ", ".join(hosts)
    return gettext("%(names)s and %(left)s more") % {"names": ", ".join(hosts[:most]), "left": len(hosts) - most}


def _waves_in_words(document: PlanDocument) -> str:
    """Wave after wave with its hosts, what made them, and how many of each have to succeed."""
    few = len(document.hosts) <= LARGE
    parts = []
    for wave in document.waves:
        said = f"{wave.name} {len(wave.hosts)}" + (f" ({', '.join(wave.hosts)})" if few else "")
        if wave.quorum:
            said = gettext("%(wave)s, of which %(quorum)s must succeed") % {"wave": said, "quorum": wave.quorum}
        parts.append(said)
    waves = gettext("; then ").join(parts)
    by: dict[str, Any] = document.body.get("wave_by", {})
    if "label" not in by or len(parts) < 2:
        return waves
    return gettext("one for each %(label)s after a first host: %(waves)s") % {"label": by["label"], "waves": waves}
