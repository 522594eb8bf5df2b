"""The watch: a switched run is looked at under live traffic until it is verified, or is found not to have helped."""

import datetime
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from audit.english import in_english
from incidents.rollback import counted, fleet, live, undo
from incidents.rollback.checks import Answered, error_answer, golden_answer, keep, put_on_record, verdict
from incidents.rollback.document import PlanDocument
from incidents.rollback.fleet import Remote
from incidents.rollback.gating.asking import answers_of
from incidents.rollback.gating.planned import asked_at
from incidents.rollback.lease import lease_length
from incidents.rollback.models import (
    ASIDE_KINDS,
    CheckAnswer,
    HostStep,
    PlanKind,
    Run,
    StepState,
    Watch,
    WatchState,
)
from incidents.rollback.plan import read
from incidents.rollback.run import RunRefused, announce_run
from incidents.rollback.state import LostRace, move
from registry.actions import move_alias
from registry.golden import golden_of
from registry.models import Alias, Version
from registry.serving.base import ServingError

logger = logging.getLogger(__name__)

WORKER = service_actor("watch")
CLAIM_LEASES = 4
DECISIVE = ("golden", "holdout")
PASS, FAIL, INCONCLUSIVE = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE


def tick(run_id: Any) -> bool:
    """Ask the watch's questions once, and end the watch when they decide it. True when this call asked.

    Claimed by compare-and-set on `due_at`: of many calls at once, one asks.
    """
    claimed = Watch.objects.filter(run_id=run_id, state=WatchState.WATCHING, due_at__lte=Now()).update(
        due_at=Now() + CLAIM_LEASES * lease_length()
    )
    if not claimed:
        return False
    watch = Watch.objects.select_related(
        "run__plan__from_version", "run__plan__to_version", "run__plan__request__policy", "run__endpoint__model"
    ).get(run_id=run_id)
    run, document = watch.run, read(watch.run.plan)
    later = Run.objects.filter(endpoint=run.endpoint, started_at__gt=run.started_at).exclude(plan__kind__in=ASIDE_KINDS)
    if later.exists():
        _end(watch, WatchState.FAILED, "Another run took over before this one was verified.", [])
        return True
    final = database_now() >= watch.until
    answers = _ask(run, document, thorough=final or not run.checks.filter(stage="watch").exists())
    with transaction.atomic():
        keep(run=run, stage="watch", answers=answers)
        Run.objects.filter(pk=run.pk).update(version=F("version") + 1)
    _decide(watch, document, answers, final=final)
    return True


def _ask(run: Run, document: PlanDocument, *, thorough: bool) -> list[Answered]:
    try:
        return ask(run, document, thorough=thorough)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # A damaged file, say, is there at the next look as well: a watch that only fails would never end.
        logger.exception("rollback.watch.unanswerable run=%s", run.pk)
        observed = f"{type(error).__name__}: {error}"
        question = "Can the watch's questions be asked?"
        return [Answered("questions", question, INCONCLUSIVE, observed, "every question can be asked", wait=True)]


def ask(run: Run, document: PlanDocument, *, thorough: bool) -> list[Answered]:
    """All questions of the plan's checks. `thorough` asks the hosts for golden outputs and the holdout as well."""
    now, since = database_now(), run.switched_at or run.started_at
    target, endpoint = run.plan.to_version, run.endpoint
    answers, reached = _ask_hosts(run, document, thorough=thorough)
    if thorough and (check := document.check("holdout")) is not None:
        answers += _holdout([remote for _, remote in reached], run, check)
    for step, remote in reached:
        counted.keep_asked(step, remote)
    if (check := document.check("accuracy")) is not None:
        answers.append(live.live_accuracy(endpoint, target, since, now, check))
    if (check := document.check("latency")) is not None:
        answers += _some(live.live_latency(endpoint, target, run.started_at, since, now, check))
    if (check := document.check("outputs")) is not None:
        answers += _some(live.live_outputs(endpoint, target, since, now, check))
    return answers + _registered(run, document)


@dataclass(frozen=True)
class _Watched:
    """A switched run, as registered gates are asked about it."""

    run: Run
    document: PlanDocument

    @property
    def target(self) -> Version:
        return self.run.plan.to_version

    def remote(self, step: HostStep) -> Remote:
        return fleet.reach(step.host, self.run.endpoint)


def _registered(run: Run, document: PlanDocument) -> list[Answered]:
    """What the registered gates say that the plan has asked after the run."""
    if not asked_at(document.body["gates"], "watch"):
        return []
    steps = run.steps.filter(state=StepState.DONE).select_related("host", "wave").order_by("id")
    return answers_of(_Watched(run, document), None, list(steps))


def _some(answered: Answered | None) -> list[Answered]:
    return [] if answered is None else [answered]


def _holdout(remotes: list[Remote], run: Run, check: dict[str, str]) -> list[Answered]:
    try:
        return [live.holdout_answer(remotes, run.plan.to_version, check)]
    except ServingError as error:
        question = "Can the holdout set be answered by the hosts?"
        return [Answered("holdout", question, INCONCLUSIVE, str(error), "answers", wait=True)]


def _ask_hosts(
    run: Run, document: PlanDocument, *, thorough: bool
) -> tuple[list[Answered], list[tuple[HostStep, Remote]]]:
    target = run.plan.to_version
    read_golden = cache(partial(golden_of, target))
    golden = read_golden() if thorough else None
    answers: list[Answered] = []
    reached: list[tuple[HostStep, Remote]] = []
    for step in run.steps.select_related("host").order_by("id"):
        if step.state == StepState.FAILED:
            answers.append(_left_out(run, step))
            continue
        try:
            remote = fleet.reach(step.host, run.endpoint)
            answers += _ask_host(run, document, step, remote, read_golden)
            if golden is not None:
                where = f"version {target.number} on {step.host.name}"
                answers.append(golden_answer(step.host, remote.golden(target, golden), target.digest, where))
            reached.append((step, remote))
        except ServingError as error:
            absent = step.state == StepState.UNREACHABLE
            question = f"Does {step.host.name} serve version {target.number}?"
            answer = PASS if absent else INCONCLUSIVE
            observed = f"absent, as the plan tolerates: {error}" if absent else str(error)
            answers.append(
                Answered("serving", question, answer, observed, "an answer", host=step.host, wait=not absent)
            )
    return answers, reached


def _left_out(run: Run, step: HostStep) -> Answered:
    """A host that failed within the plan's budget may be out of service, or serve the target after all. One that
    answers with something else keeps what was to be left in the traffic."""
    question = f"Is {step.host.name}, which failed within the plan's failure budget, kept from answering otherwise?"
    expected = f"out of service, away, or digest {run.plan.to_version.digest[:12]}"
    try:
        remote = fleet.reach(step.host, run.endpoint)
        seen = remote.look()
    except ServingError as error:
        return Answered("serving", question, PASS, f"it is away: {error}", expected, host=step.host)
    right = fleet.serves(seen, run.plan.to_version, read_back=remote.driver.capabilities.digest_read_back)
    if right or not seen.in_service or seen.default_version is None:
        observed = "it serves the version" if right else "it is out of service"
        return Answered("serving", question, PASS, observed, expected, host=step.host)
    observed = f"it is in service with digest {fleet.serving_digest(seen)[:12] or 'none'}"
    return Answered("serving", question, INCONCLUSIVE, observed, expected, host=step.host, wait=True)


def _ask_host(
    run: Run,
    document: PlanDocument,
    step: HostStep,
    remote: Remote,
    read_golden: Callable[[], Mapping[str, Any] | None],
) -> list[Answered]:
    target, seen = run.plan.to_version, remote.look()
    right = fleet.serves(seen, target, read_back=remote.driver.capabilities.digest_read_back)
    answers = [
        Answered(
            "serving",
            f"Does {step.host.name} serve version {target.number}?",
            PASS if right else INCONCLUSIVE,
            f"digest {fleet.serving_digest(seen)[:12] or 'none'}",
            f"digest {target.digest[:12]}",
            host=step.host,
            wait=not right,
        )
    ]
    held, check = fleet.version_on(seen, target), document.check("errors")
    if check is not None and held is not None and step.state == StepState.DONE:
        can = remote.driver.capabilities
        requests, failures = counted.since_done(step, held, can, None if can.probes_apart else read_golden())
        answers.append(
            error_answer(
                failures=failures,
                requests=requests,
                max_share=Decimal(check["max_share"]),
                min_requests=int(check["min_requests"]),
                host=step.host,
                where=step.host.name,
            )
        )
    return answers


def _decide(watch: Watch, document: PlanDocument, answers: list[Answered], *, final: bool) -> None:
    # A registered gate says fail only at its end, and waits by a patience of its own.
    mine = {gate.name for gate in asked_at(document.body["gates"], "watch")}
    decisive = [answered for answered in answers if answered.name in {*DECISIVE, *mine} and answered.answer == FAIL]
    if decisive:
        _end(watch, WatchState.FAILED, f"{decisive[0].question} No: {decisive[0].observed}.", answers)
        return
    patient = database_now() < watch.patience_until
    waiting = any(answered.wait and (patient or answered.name in mine) for answered in answers)
    failed = next((answered for answered in answers if answered.answer == FAIL), None)
    if not final or (waiting and failed is None):
        seconds = min(15.0, max(1.0, document.watch_seconds / 20))
        Watch.objects.filter(pk=watch.pk, state=WatchState.WATCHING).update(
            due_at=Now() + datetime.timedelta(seconds=seconds)
        )
        return
    if failed is not None:
        _end(watch, WatchState.FAILED, f"{failed.question} No: {failed.observed}.", answers)
    elif verdict(answers) == INCONCLUSIVE:
        open_question = next(answered for answered in answers if answered.answer == INCONCLUSIVE)
        sentence = f"{open_question.question} Not known: {open_question.observed}. A person has to decide."
        _end(watch, WatchState.INCONCLUSIVE, sentence, answers)
    elif watch.run.plan.request is not None and watch.run.plan.request.policy.sign_off_required:
        _end(
            watch, WatchState.INCONCLUSIVE, "Every check has passed; the policy asks for a person's sign-off.", answers
        )
    else:
        _end(watch, WatchState.PASSED, "", answers)


def _end(watch: Watch, state: WatchState, reason: str, answers: list[Answered]) -> None:
    names = {WatchState.PASSED: "pass", WatchState.FAILED: "fail", WatchState.INCONCLUSIVE: "hold"}
    ended = {} if state == WatchState.INCONCLUSIVE else {"ended_at": Now()}
    with transaction.atomic():
        Run.objects.filter(pk=watch.run_id).update(version=F("version") + 1)
        try:
            move(watch, state, state_reason=reason[:500], **ended)
        except LostRace:
            return
        if state == WatchState.PASSED:
            _verified(watch.run, WORKER)
        put_on_record(
            run=watch.run,
            action=f"rollback.watch.{names[state]}",
            answers=answers,
            actor=WORKER,
            data={"plan_hash": watch.run.plan.plan_hash, "state": state},
        )
        announce_run(watch.run)


def sign_off(*, run_id: Any, user: User, passed: bool, reason: str, actor: Actor) -> Watch:
    """A person's verdict on a watch that could not end by itself. Raises PermissionDenied, RunRefused."""
    related = ("run__plan__to_version", "run__plan__from_version", "run__endpoint__model")
    watch = Watch.objects.select_related(*related).get(run_id=run_id)
    model = watch.run.endpoint.model
    require(user, "incident.command", model=model.slug, team=model.team)
    if not reason.strip():
        raise RunRefused("reason_needed", "Say in a sentence why; it goes on record.")
    if watch.state != WatchState.INCONCLUSIVE:
        raise RunRefused(
            "not_inconclusive", f"Nothing waits for a person: {in_english(watch.get_state_display).lower()}."
        )
    state = WatchState.PASSED if passed else WatchState.FAILED
    with transaction.atomic():
        Run.objects.filter(pk=watch.run_id).update(version=F("version") + 1)
        try:
            move(watch, state, state_reason=reason[:500], ended_at=Now(), signed_off_by=user)
        except LostRace as error:
            raise RunRefused("moved", "Somebody decided at the same moment. Look again.") from error
        if passed:
            _verified(watch.run, actor)
        record(
            action="rollback.watch.sign_off",
            target=Target("run", str(watch.run_id)),
            actor=actor,
            incident=watch.run.plan.incident_ref,
            reason=reason,
            data={"run": str(watch.run_id), "plan_hash": watch.run.plan.plan_hash, "state": state},
        )
        announce_run(watch.run)
    return watch


def _verified(run: Run, actor: Actor) -> None:
    """A verified run names its target champion. The version that it left is quarantined when its undo window closes, or
    now where that has closed."""
    plan = run.plan
    if plan.kind not in (PlanKind.DRILL, PlanKind.CONVERGE) and run.endpoint.environment == "production":
        move_alias(model=run.endpoint.model, name=Alias.CHAMPION, version=plan.to_version, actor=actor)
    undo.quarantine_what_was_left(run.pk, actor)
