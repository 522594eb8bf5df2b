"""The dry run of a plan: everything but the effect. Hosts are really observed; nothing is called that changes one, no
row is written and nothing is put on record.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import connections

from incidents.rollback import fleet
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import Plan, PlanKind, StepState
from incidents.rollback.plan import Composed, read
from incidents.rollback.questions import look_over
from registry.models import Endpoint, Host, Version
from registry.serving import driver_for
from registry.serving.base import Act, Call, ModelObservation, ServingError

S = StepState
ACTS: Mapping[str, tuple[str, str]] = {
    S.STAGED: ("stage", "its files are there"),
    S.DRAINED: ("drain", "it is out of service"),
    S.EMPTIED: ("unload", "the old version is not in memory"),
    S.LOADED: ("load", "it is in memory, read back"),
    S.GOLDEN_OK: ("golden", ""),
    S.SHADOWED: ("shadow", "it answers with the target"),
    S.SHARED: ("share", "it has its share"),
    S.SWITCHED: ("switch", "it answers with the target"),
    S.POSTCHECK_OK: ("postcheck", ""),
    S.IN_SERVICE: ("bring_back", "it is in service"),
}
WORDS = {"golden": "golden test", "postcheck": "post-check", "bring_back": "bring back"}


@dataclass(frozen=True)
class Step:
    """One act on a host: what would be called, or why nothing would be."""

    name: str
    calls: list[Call]
    skipped: str = ""


@dataclass(frozen=True)
class HostSteps:
    """One host in its turn: what it serves now, and its steps in order; `unreachable` says why it has none."""

    host: str
    wave: int
    serves: str = ""
    unreachable: str = ""
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class DryRun:
    """`findings` are the questions of the preflight that need no effect, answered now; `beside` is what would be done
    without calling a host."""

    fence: int
    hosts: list[HostSteps]
    findings: list[dict[str, str]]
    beside: list[str]

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)


def dry_run_of(plan: Plan) -> DryRun:
    """Raises PlanRefused where the stored document is not the one that was proposed."""
    return _rehearse(plan, read(plan))


def dry_run_composed(composed: Composed, *, kind: str, endpoint: Endpoint, to_version: Version) -> DryRun:
    """Of a plan that is not stored."""
    plan = Plan(
        id=composed.identity,
        kind=kind,
        endpoint=endpoint,
        from_version=composed.from_version,
        to_version=to_version,
        document=composed.document,
        plan_hash=composed.hash,
    )
    return _rehearse(plan, PlanDocument.read(composed.document))


def _rehearse(plan: Plan, document: PlanDocument) -> DryRun:
    hosts = {host.name: host for host in Host.objects.filter(name__in=document.hosts)}
    fence = plan.endpoint.fence + 1
    order = [(index, hosts[name]) for index, wave in enumerate(document.waves, 1) for name in wave.hosts]
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(order)))) as pool:
        asked = list(pool.map(lambda turn: _look_at(plan, document, fence, *turn), order))
    findings = [answer.facts for answer in look_over(plan, document)]
    return DryRun(fence, asked, findings, _beside(plan, document))


def _beside(plan: Plan, document: PlanDocument) -> list[str]:
    if plan.kind == PlanKind.FREEZE:
        return [f"{plan.endpoint.slug} is frozen until {document.body['freeze']['until']}; no host is called."]
    if plan.kind == PlanKind.DRAIN:
        back = "again counts" if document.outcome == "bring_back" else "no longer counts"
        return [f"{name} {back} as a host that shall serve." for name in document.hosts]
    return [f"{name} is entered as serving version {plan.to_version.number}." for name in document.hosts]


def _look_at(plan: Plan, document: PlanDocument, fence: int, wave: int, host: Host) -> HostSteps:
    """Runs in a thread of its own."""
    try:
        remote = fleet.reach(host, plan.endpoint)
        seen = remote.look()
    except ServingError as error:
        return HostSteps(host.name, wave, unreachable=str(error))
    finally:
        connections.close_all()
    can = remote.driver.capabilities
    path = [state for state in document.path_of(host.name) if state in ACTS]
    if not can.drain:
        path = [state for state in path if state not in (S.DRAINED, S.IN_SERVICE)]
    if not can.versioned_inference:
        path = [state for state in path if state != S.GOLDEN_OK]
    true = _true_already(plan, document, seen, read_back=can.digest_read_back)
    steps = [step for state in path for step in _steps(plan, document, fence, host, state, true)]
    if host.name in document.kept and plan.from_version is not None:
        steps += _kept(plan, plan.from_version, fence, host)
    return HostSteps(host.name, wave, serves=fleet.serving_digest(seen), steps=steps)


def _steps(
    plan: Plan, document: PlanDocument, fence: int, host: Host, state: str, true: Callable[[str], bool]
) -> list[Step]:
    name, why = ACTS[state]
    word = WORDS.get(name, name)
    if why and true(name):
        return [Step(word, [], skipped=f"{why} already")]
    about = plan.from_version if name == "unload" and plan.from_version is not None else plan.to_version
    percents = document.shares if name == "share" else [document.shadow["percent"] if document.shadow else 0]
    return [
        Step(
            word,
            _calls(host, Act(name, plan.endpoint.model.slug, str(about.number), about.digest, fence, percent)),
        )
        for percent in percents
    ]


def _kept(plan: Plan, origin: Version, fence: int, host: Host) -> list[Step]:
    """What is done once the host is through: its engine drops the old version at the switch."""
    return [
        Step(
            f"{name} for the way back",
            _calls(host, Act(name, plan.endpoint.model.slug, str(origin.number), origin.digest, fence)),
        )
        for name in ("stage", "load")
    ]


def _calls(host: Host, act: Act) -> list[Call]:
    return driver_for(host.engine).calls(host.address.rstrip("/"), host.options, act)


def _true_already(
    plan: Plan, document: PlanDocument, seen: ModelObservation, *, read_back: bool
) -> Callable[[str], bool]:
    """Whether an act would find its end true at the first look, as incidents.rollback.steps asks it."""
    target, origin = plan.to_version, plan.from_version
    serves = fleet.serves(seen, target, read_back=read_back)
    drains = document.outcome in ("drain", "bring_back")

    def true(name: str) -> bool:
        found = {
            "stage": fleet.is_staged(seen, target),
            "drain": not seen.in_service or (serves and not drains),
            "unload": serves or origin is None or not fleet.is_loaded(seen, origin, read_back=False),
            "load": fleet.is_loaded(seen, target, read_back=read_back),
            "shadow": serves,
            "share": serves,
            # The switch is called all the same where the host has not seen this run's fence: late calls are barred so.
            "switch": False,
            "bring_back": seen.in_service,
        }
        return found[name]

    return true
