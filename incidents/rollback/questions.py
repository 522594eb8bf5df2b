"""The questions of a preflight and their answers: what a plan needs of the endpoint, its hosts and the files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import NoPolicy, policy_for
from audit.actions import service_actor
from audit.clock import database_now
from audit.templatetags.amounts import filesize_short
from incidents.rollback import fleet
from incidents.rollback.checks import golden_answer
from incidents.rollback.document import PlanDocument
from incidents.rollback.fleet import Remote
from incidents.rollback.memory import need_of
from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    STEERING_KINDS,
    CheckAnswer,
    Plan,
    PlanKind,
    Run,
)
from incidents.rollback.prepare import NotPrepared, make_ready, make_warm
from incidents.rollback.run import StartRefused, check_fleet
from incidents.rollback.shared import emptied_beside, shared_with
from registry import intact
from registry.golden import golden_of
from registry.models import Endpoint, Health, Host, Placement, Version
from registry.offers import way_to
from registry.serving.base import Capabilities, FetchingDriver, ModelObservation, Observation, ServingError

WORKER = service_actor("rollback")
PASS, FAIL, INCONCLUSIVE = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE


@dataclass(frozen=True)
class Found:
    """One answer, not stored yet."""

    name: str
    question: str
    answer: CheckAnswer
    observed: str = ""
    expected: str = ""
    host: Host | None = None

    @property
    def facts(self) -> dict[str, str]:
        return {
            "name": self.name,
            "question": self.question,
            "answer": str(self.answer),
            "observed": self.observed,
            "expected": self.expected,
            "host": self.host.name if self.host is not None else "",
        }


def ask_everything(plan: Plan, document: PlanDocument) -> list[Found]:
    """All of them, in the order in which they are shown. Loads the target on each host, beside what is served."""
    if plan.kind in STEERING_KINDS:
        return _ask_steering(plan, document)
    found = [*_ask_fleet(plan, document), _artifacts(plan.to_version, unread_since=intact.fresh_since())]
    if any(answer.answer == FAIL for answer in found):
        return found
    hosts = list(Host.objects.filter(name__in=document.hosts).order_by("name"))
    golden = golden_of(plan.to_version)
    with ThreadPoolExecutor(max_workers=min(16, len(hosts))) as pool:
        asked = list(pool.map(lambda host: _ask_host(plan, document, host, golden), hosts))
    for answers in asked:
        found += answers
    if any(answer.name == "answers" for answer in found):
        # Perhaps a host would not take a file: which one, reading it tells.
        found = [answer for answer in found if answer.name != "artifacts"]
        found.append(_artifacts(plan.to_version, unread_since=database_now()))
    absent = sum(any(a.name == "reachable" and a.answer != PASS for a in answers) for answers in asked)
    found.append(_enough_hosts(document, absent))
    return found


def look_over(plan: Plan, document: PlanDocument) -> list[Found]:
    """The questions that can be answered without an effect on any host: for a dry run."""
    if plan.kind in STEERING_KINDS:
        return _ask_steering(plan, document)
    hosts = list(Host.objects.filter(name__in=document.hosts).order_by("name"))
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(hosts)))) as pool:
        asked = list(pool.map(lambda host: _look_at_host(plan, document, host), hosts))
    absent = sum(answers[0].answer != PASS for answers in asked)
    found = [*_ask_fleet(plan, document), _artifacts(plan.to_version, unread_since=None)]
    return [*found, *(answer for answers in asked for answer in answers), _enough_hosts(document, absent)]


def _reachable(host: Host, answer: CheckAnswer = PASS, observed: str = "it does") -> Found:
    return Found("reachable", f"Does {host.name} answer?", answer, observed, "it does", host)


def _look_at_host(plan: Plan, document: PlanDocument, host: Host) -> list[Found]:
    """Runs in a thread of its own."""
    try:
        remote = fleet.reach(host, plan.endpoint)
        observation, seen = remote.observe()
        return [_reachable(host), *_ask_state(plan, document, remote, observation, seen)]
    except ServingError as error:
        return [_reachable(host, INCONCLUSIVE, str(error))]
    finally:
        connections.close_all()


def _ask_steering(plan: Plan, document: PlanDocument) -> list[Found]:
    """What a drain, its end or a freeze depends on: the endpoint, the policy, each host, and those that are left."""
    endpoint = plan.endpoint
    found = [_no_active_run(endpoint), _policy_stands(plan, document), _membership(plan, document)]
    if plan.kind == PlanKind.FREEZE:
        return found
    found += _shared(endpoint, document)
    hosts = list(Host.objects.filter(name__in=document.hosts).order_by("name"))
    with ThreadPoolExecutor(max_workers=min(16, len(hosts))) as pool:
        for answers in pool.map(lambda host: _ask_steered(plan, document, host), hosts):
            found += answers
    if document.outcome == "drain":
        left = Placement.objects.filter(endpoint=endpoint, host__drained_at=None, health=Health.SERVING)
        names = left.exclude(host__name__in=document.hosts).values_list("host__name", flat=True)
        least = document.min_hosts_serving
        answer = PASS if len(names) >= least else FAIL
        observed = f"{len(names)}: {', '.join(names)}" if names else "none, as last observed"
        found.append(Found("rest", "Do enough of the other hosts serve?", answer, observed, f"at least {least}"))
    return found


def _ask_steered(plan: Plan, document: PlanDocument, host: Host) -> list[Found]:
    """Runs in a thread of its own. A host that comes back has to give the golden outputs of what is served."""
    try:
        remote = fleet.reach(host, plan.endpoint)
        seen = remote.look()
        found = [_reachable(host)]
        can = remote.driver.capabilities.drain
        observed = (
            "it can" if can else f"{host.engine} can't: whoever runs the load balancer does it, and it is entered"
        )
        question = f"Can {host.name} be told to leave and to return?"
        found.append(Found("drains", question, PASS if can else INCONCLUSIVE, observed, "it can", host))
        if document.outcome == "bring_back":
            found += _returns(plan, document, remote, seen)
    except ServingError as error:
        found = [_reachable(host, FAIL, str(error))]
    finally:
        connections.close_all()
    return found


def _returns(plan: Plan, document: PlanDocument, remote: Remote, seen: ModelObservation) -> list[Found]:
    """A host may have missed a change of version, or have been started again, while it was drained."""
    host, target, serving = remote.host, plan.to_version, fleet.serving_digest(seen)
    known = PASS if serving in document.tolerated else FAIL
    expected = " or ".join(digest[:12] or "nothing" for digest in document.tolerated)
    warm = fleet.is_loaded(seen, target, read_back=remote.driver.capabilities.digest_read_back)
    said = "it does" if warm else "not yet; it is loaded and tested before the host comes back"
    return [
        Found("serving", f"Is {host.name} as the plan expects?", known, serving[:12] or "nothing", expected, host),
        Found("holds", f"Does {host.name} hold version {target.number}?", PASS, said, "it does, or can", host),
    ]


def _no_active_run(endpoint: Endpoint) -> Found:
    busy = Run.objects.filter(endpoint=endpoint, state__in=ACTIVE_RUN_STATES).exists()
    question = f"Is {endpoint.slug} free of other runs?"
    return Found("no-active-run", question, FAIL if busy else PASS, "a run is active" if busy else "none", "none")


def _ask_fleet(plan: Plan, document: PlanDocument) -> list[Found]:
    """What needs neither a host nor the target's files: the endpoint, its policy, other endpoints."""
    endpoint = plan.endpoint
    frozen = endpoint.freeze_at(database_now())
    target = plan.to_version
    return [
        _no_active_run(endpoint),
        Found(
            "not-frozen",
            f"May {endpoint.slug} be changed?",
            FAIL if frozen else PASS,
            f"frozen: {frozen.reason}" if frozen else "not frozen",
            "not frozen",
        ),
        Found(
            "not-quarantined",
            f"May version {target.number} be deployed?",
            FAIL if target.quarantined_at else PASS,
            f"quarantined: {target.quarantine_reason}" if target.quarantined_at else "not quarantined",
            "not quarantined",
        ),
        _policy_stands(plan, document),
        _membership(plan, document),
        *_shared(endpoint, document),
        *_emptied(endpoint, document),
    ]


def _emptied(endpoint: Endpoint, document: PlanDocument) -> list[Found]:
    """Asked before anything is loaded, and only where there is something to say."""
    emptied = emptied_beside(endpoint, set(document.hosts))
    if not emptied:
        return []
    question = f"Is the memory of {', '.join(sorted(emptied))} not needed by another run?"
    observed = f"a run of {', '.join(sorted(set(emptied.values())))} empties it for its own version; wait for its end"
    return [Found("emptied", question[:300], FAIL, observed[:300], "it is not")]


def _shared(endpoint: Endpoint, document: PlanDocument) -> list[Found]:
    """What the plan takes from other endpoints; its approvers see it also where nothing stands against it."""
    return [
        Found(
            "shared",
            f"May {', '.join(other.named)} leave or return, with {other.endpoint.slug} served there too?"[:300],
            FAIL if other.hindrance else INCONCLUSIVE,
            other.hindrance or other.observed,
            f"at least {other.endpoint.min_hosts_serving} serve {other.endpoint.slug}",
        )
        for other in shared_with(endpoint, document)
    ]


def _policy_stands(plan: Plan, document: PlanDocument) -> Found:
    question = "Is the approval policy the one in the plan?"
    try:
        policy = policy_for(
            subject_kind=plan.kind,
            risk_tier=plan.endpoint.model.risk_tier,
            environment=plan.endpoint.environment,
        )
    except NoPolicy as error:
        return Found("policy", question, FAIL, str(error), "one active policy")
    same = policy_hash(policy) == document.policy_hash
    return Found("policy", question, PASS if same else FAIL, f"{policy.name} version {policy.version}", "unchanged")


def _membership(plan: Plan, document: PlanDocument) -> Found:
    question = "Are the endpoint's hosts those of the plan?"
    try:
        check_fleet(plan.endpoint, document)
    except StartRefused as error:
        return Found("membership", question, FAIL, error.sentence, ", ".join(document.hosts))
    return Found("membership", question, PASS, ", ".join(document.hosts), ", ".join(document.hosts))


def _artifacts(version: Version, *, unread_since: datetime | None) -> Found:
    """Every file of the target, the golden test included, as `registry.intact.look` finds it. A web process has no time
    to read gigabytes, and gives None."""
    question = f"Are all files of version {version.number} present and intact?"
    digests = list(version.files.values_list("artifact_id", flat=True))
    if version.golden_id is None:
        return Found("artifacts", question, FAIL, "it has no golden test", "files and a golden test")
    looked = intact.look([*digests, version.golden_id], unread_since=unread_since)
    return Found("artifacts", question, FAIL if looked.damage else PASS, looked.sentence, f"{looked.files} files")


def _enough_hosts(document: PlanDocument, absent: int) -> Found:
    present = len(document.hosts) - absent
    spared = min(1, len(document.recreated))
    enough = absent <= document.tolerated_absences and present - spared >= max(1 - spared, document.min_hosts_serving)
    return Found(
        "enough-hosts",
        "Do enough hosts take part?",
        PASS if enough else FAIL,
        f"{present} of {len(document.hosts)}" + (", one of which is out of service at a time" if spared else ""),
        f"at most {document.tolerated_absences} absent, at least {max(1 - spared, document.min_hosts_serving)} serving",
    )


def _ask_host(plan: Plan, document: PlanDocument, host: Host, golden: dict[str, Any] | None) -> list[Found]:
    """Runs in a thread of its own. Stages and loads the target (traffic is not touched), then tests it in place."""
    found: list[Found] = []
    try:
        remote = fleet.reach(host, plan.endpoint)
        observation, seen = remote.observe()
        found.append(_reachable(host))
        found += _ask_state(plan, document, remote, observation, seen)
        if any(answer.answer == FAIL for answer in found):
            return found
        found += _make_warm(plan, document, remote, golden)
    except ServingError as error:
        if found:
            found.append(Found("answers", f"Does {host.name} keep answering?", FAIL, str(error), "it does", host))
        else:
            found.append(_reachable(host, INCONCLUSIVE, str(error)))
    finally:
        connections.close_all()
    return found


def _ask_state(
    plan: Plan, document: PlanDocument, remote: Remote, observation: Observation, seen: ModelObservation
) -> list[Found]:
    host, can = remote.host, remote.driver.capabilities
    lacking = can.lacking()
    serving = fleet.serving_digest(seen)
    return [
        Found(
            "capabilities",
            f"Can {host.name} do what the plan needs?",
            INCONCLUSIVE if lacking else PASS,
            f"{host.engine}: {' '.join(lacking)}"[:300] if lacking else f"engine {host.engine}: everything",
            "warm switch and undo, inference by version, digest read-back, fencing",
            host,
        ),
        Found(
            "serving",
            f"Does {host.name} serve what the plan expects?",
            PASS if serving in document.tolerated else FAIL,
            f"digest {serving[:12] or 'none'}",
            " or ".join(digest[:12] or "none" for digest in document.tolerated),
            host,
        ),
        _own_machine(plan, host, observation),
        *_engine_fits(plan.to_version, host),
        _memory(plan.to_version, host, observation, seen, recreated=host.name in document.recreated),
        *_files_come(plan.to_version, remote, observation, seen),
        *_steers(document, host, can),
    ]


def _engine_fits(version: Version, host: Host) -> list[Found]:
    """A version that says for which engine it was made is for hosts of that engine; one that does not is tried."""
    made_for = version.environment.get("engine") if isinstance(version.environment, dict) else None
    if not made_for:
        return []
    question = f"Was version {version.number} made for the engine of {host.name}?"
    return [Found("engine", question, PASS if made_for == host.engine else FAIL, host.engine, str(made_for), host)]


def _steers(document: PlanDocument, host: Host, can: Capabilities) -> list[Found]:
    """Whether the engine can do what the strategy asks of this host; a share that it can't give is not a hindrance."""
    if host.name in document.recreated:
        question = f"Can {host.name} be taken out of service while its version is replaced?"
        observed = "it can" if can.drain else f"the engine {host.engine} can't be told where requests go"
        return [Found("drains", question, PASS if can.drain else FAIL, observed, "it can", host)]
    if document.shares and host.name in document.waves[0].hosts and not can.weighted_traffic:
        question = f"Can a version take a share of the requests of {host.name}?"
        observed = f"the engine {host.engine} can't share; it switches at once, after the golden test"
        return [Found("shares", question, INCONCLUSIVE, observed, "it can", host)]
    return []


def _own_machine(plan: Plan, host: Host, observation: Observation) -> Found:
    """A machine has one default per model, whatever names it is registered under: another endpoint's approvals, or
    fewer of them, must not decide what this one answers."""
    question = f"Does the machine behind {host.name} serve this model for {plan.endpoint.slug} alone?"
    same = Placement.objects.filter(observation__boot_id=observation.boot_id, endpoint__model=plan.endpoint.model_id)
    others = same.exclude(endpoint=plan.endpoint_id).values_list("endpoint__slug", flat=True)
    named = ", ".join(sorted(set(others)))
    return Found("machine", question, FAIL if named else PASS, f"also for {named}" if named else "it does", "", host)


def _files_come(version: Version, remote: Remote, observation: Observation, seen: ModelObservation) -> list[Found]:
    """By which way, where there are two."""
    if not isinstance(remote.driver, FetchingDriver) or fleet.is_staged(seen, version):
        return []
    question = f"How do the files of version {version.number} get to {remote.host.name}?"
    return [Found("way", question, PASS, way_to(fetches=observation.fetches)[:300], "", remote.host)]


def _memory(
    version: Version, host: Host, observation: Observation, seen: ModelObservation, *, recreated: bool
) -> Found:
    question = f"Does version {version.number} fit into the memory of {host.name}?"
    if fleet.is_loaded(seen, version, read_back=False):
        return Found("memory", question, PASS, "it is loaded already", "", host)
    need = need_of(version, engine=host.engine, device=observation.device)
    if observation.memory_total <= 0:
        return Found("memory", question, INCONCLUSIVE, "the host does not say", need.sentence, host)
    free, observed = observation.memory_free, f"{filesize_short(observation.memory_free)} free"
    if recreated:
        held = seen.versions.get(seen.default_version or "")
        given_back = (held.memory_bytes or 0) if held is not None else 0
        free, observed = free + given_back, f"{observed}, {filesize_short(given_back)} given back before"
    if free < need.bytes and not recreated:
        observed = f"{observed}; propose it with the strategy recreate"
    return Found("memory", question, PASS if free >= need.bytes else FAIL, observed, need.sentence, host)


def _make_warm(plan: Plan, document: PlanDocument, remote: Remote, golden: dict[str, Any] | None) -> list[Found]:
    host, target = remote.host, plan.to_version
    question = f"Is version {target.number} warm on {host.name}?"
    for_plan: dict[str, Any] = {
        "incident_ref": plan.incident_ref,
        "cause": f"plan {plan.plan_hash[:12]}",
        "actor": WORKER,
    }
    if host.name in document.recreated:
        make_ready(remote=remote, version=target, **for_plan)
        staged = f"Are the files of version {target.number} on {host.name}?"
        return [Found("staged", staged, PASS, "they are; it is loaded and tested once the host is out", "", host)]
    try:
        make_warm(endpoint=plan.endpoint, remote=remote, version=target, **for_plan)
    except NotPrepared as error:
        return [Found("warm", question, FAIL, str(error), f"digest {target.digest[:12]} in memory", host)]
    can, where = remote.driver.capabilities, f"version {target.number} on {host.name}"
    said = "read back" if can.digest_read_back else "as the engine says, which can't be read back; its files are right"
    found = [Found("warm", question, PASS, f"digest {target.digest[:12]} {said}", "the plan's digest", host)]
    if golden is not None and not can.versioned_inference:
        asked = f"Does {where} give the golden outputs?"
        found.append(Found("golden", asked, INCONCLUSIVE, "it is asked once it serves", "before it serves", host))
    elif golden is not None:
        answered = golden_answer(host, remote.golden(target, golden), target.digest, where)
        found.append(Found("golden", answered.question, answered.answer, answered.observed, answered.expected, host))
    return found
