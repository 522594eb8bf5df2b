"""How each story of the matrix is brought to where its worker dies, and what people do after that."""

import threading
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance, rehearsal, undo
from incidents.rollback import run as runs
from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    HostStep,
    Plan,
    PlanState,
    Run,
    RunState,
    StepState,
    Trial,
    TrialLoad,
    TrialState,
)
from incidents.rollback.shadow.told import figures_of
from registry.actions import ask_composition, compose, replace_token
from registry.composing import tensors_of
from registry.models import Composition, Host, Version
from tests.faults.matrix.edges import SECOND_HOST, Case
from tests.faults.matrix.endpoints import WithAHostOfItsOwn
from tests.faults.points import Point
from tests.faults.town import Endpoint, Town, prepared
from tests.host.fixtures import TOKEN
from tests.incidents.rollback.fleet import SETUP
from tests.waiting import until

CANARY_ONLY = {"wave_soak_seconds": 3600}
LENIENT = {"max_differing": "0.99", "max_moved": "0.99", "max_failures": "0.99"}
BIASES: dict[int, float] = {}
"""Of versions that a story has added, by their keys."""
COMPARED = ("release whose version is compared first", "release whose version does not compare")
OUT_OF_SERVICE = ("run that takes its hosts out of service", "compensation that takes its hosts out of service")
GONE_STORIES = ("release with a host that is gone", "run that halts", "resuming")


@dataclass
class Death:
    """A case on its endpoint: what the dying process is told to do, and where it dies."""

    case: Case
    endpoint: Endpoint
    run: Run | None
    task: str
    args: tuple[Any, ...]
    point: Point
    plan: Plan | None = None

    def come_back(self) -> None:
        """What a person does first of all: click again where nothing says that the click was heard."""

    def is_put(self) -> bool:
        """Whether everything that people are asked before there is a run, has come before them."""
        return True

    def answer(self) -> None:
        """People answer it."""

    def is_begun(self) -> bool:
        return self.plan is None or Run.objects.filter(plan=self.plan).exists()

    @property
    def waits_for_a_person(self) -> bool:
        """Whether its run stays as it is until somebody clicks again."""
        return self.case.story in ("turning back", "stopping") and self.case.moment != "after_commit"

    def ended(self) -> tuple[str, str]:
        """What it has come to, and why; "" while it goes on."""
        run = self.row()
        closing = self.task == "rollback.close_undo" and run.undo_due_at is not None
        return ("", "") if closing or run.state in ACTIVE_RUN_STATES else (run.state, run.state_reason)

    def row(self) -> Run:
        """The run as it is now."""
        return Run.objects.get(plan=self.plan) if self.run is None else Run.objects.get(pk=self.run.pk)

    def afterwards(self) -> None:
        """What people do when they come back: bring the host back, click again where their click was lost."""
        run = self.row()
        endpoint, story = self.endpoint, self.case.story
        if isinstance(endpoint, WithAHostOfItsOwn):
            endpoint.find()
        person = endpoint.commander
        said: dict[str, Any] = {"run_id": run.pk, "user": person, "actor": actor_for(user=person)}
        if run.state == RunState.HALTED:
            runs.resume(reason="It is back.", **said)
        elif story == "turning back" and run.state == RunState.RUNNING:
            runs.compensate(reason="It does not help.", **said)
        elif story == "stopping" and run.state == RunState.RUNNING:
            runs.stop(reason="Wrong incident.", **said)


@dataclass
class DeathOfAnUndo(Death):
    """Before there is a run of it: with the click, or in the preflight of what was proposed."""

    undone: Run | None = None

    def come_back(self) -> None:
        assert self.undone is not None
        way_back = Plan.objects.filter(endpoint=self.undone.endpoint, to_version=self.undone.plan.from_version)
        self.plan = way_back.filter(created_at__gt=self.undone.started_at).first() or clicked_undo(
            self.endpoint, self.undone
        )

    def is_put(self) -> bool:
        assert self.plan is not None
        self.plan.refresh_from_db()
        return self.plan.state == PlanState.AWAITING

    def answer(self) -> None:
        assert self.plan is not None
        self.endpoint.approve(self.plan, self.endpoint.commander)


@dataclass
class DeathInARehearsal(Death):
    """With the click that asks for it, or in the worker that carries it out. No run has to do with it."""

    version: Version | None = None

    def come_back(self) -> None:
        assert self.version is not None
        if not Trial.objects.filter(version=self.version).exists():
            ordered_rehearsal(self.endpoint, self.version)

    def afterwards(self) -> None:
        """Nobody has to do anything."""

    def ended(self) -> tuple[str, str]:
        trial = Trial.objects.get(version=self.version)
        over = trial.state in (TrialState.DONE, TrialState.FAILED)
        over = over and not TrialLoad.objects.filter(trial=trial, left_at=None).exists()
        return (trial.state, trial.reason) if over else ("", "")


@dataclass
class DeathOfAShadow(Death):
    """Live requests go on coming to its first host, so that a shadow begun anew has something to compare."""

    traffic: "Traffic | None" = None

    def come_back(self) -> None:
        self.traffic = Traffic(self.endpoint)

    def afterwards(self) -> None:
        if self.traffic is not None:
            self.traffic.stop()
        super().afterwards()


class Traffic:
    """A request of many rows to the endpoint's first host five times a second, until it is stopped."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self._ended = endpoint, threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._ended.wait(0.2):
            asked_by(self.endpoint)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def asked_by(endpoint: Endpoint) -> None:
    """One live request of 60 rows."""
    ages = list(range(20, 80))
    columns = {"AGE": ages, "COLOR": [1 + age % 3 for age in ages], "SHAPE": [0] * len(ages)}
    assert endpoint.processes[0].infer(columns, model=endpoint.slug).status_code == 200


def clicked_undo(endpoint: Endpoint, run: Run) -> Plan:
    person = endpoint.responder
    return undo.undo(run_id=run.pk, user=person, reason="It was right.", actor=actor_for(user=person))


def ordered_rehearsal(endpoint: Endpoint, version: Version) -> Trial:
    person = endpoint.responder
    return rehearsal.ask_rehearsal(
        version=version, endpoint=endpoint.endpoint, user=person, actor=actor_for(user=person)
    )


def prepare(town: Town, endpoint: Endpoint, case: Case) -> Death:
    """Take the endpoint to the moment before the death."""
    made: Death = PREPARE[case.story](town, endpoint, case)
    return made


def _advancing(endpoint: Endpoint, case: Case, run: Run, host: str = "") -> Death:
    return Death(case, endpoint, run, "rollback.advance", (run.pk,), case.point(host))


def _by_commander(endpoint: Endpoint, case: Case, run: Run, verb: str) -> Death:
    return Death(case, endpoint, run, verb, (run.pk, endpoint.commander.username), case.point())


def _start(town: Town, endpoint: Endpoint, case: Case) -> Death:
    plan = town.approved(endpoint)
    return Death(case, endpoint, None, "rollback.request_decided", (plan.request_id,), case.point(), plan)


def _run(town: Town, endpoint: Endpoint, case: Case) -> Death:
    later = case.edge in SECOND_HOST and case.moment == "after_commit"
    return _advancing(endpoint, case, town.run(endpoint), "h2" if later else "")


def _unknown_version(town: Town, endpoint: Endpoint, case: Case) -> Death:
    """The third host let nobody in at the preflight, so the run has to bring it a version that it never held."""
    version = endpoint.add_version(3 + endpoint.model.versions.count(), bias=2.0)
    plan = endpoint.propose(version, kind="drill")
    third = Host.objects.get(name="h3")
    replace_token(host=third, control_token="not-the-one-that-it-wants", actor=SETUP)
    try:
        prepared(endpoint, plan)
    finally:
        replace_token(host=third, control_token=TOKEN, actor=SETUP)
    endpoint.approve(plan, endpoint.commander)
    return _advancing(endpoint, case, town.begun(plan), "h3")


def _cold_version(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = town.run(endpoint)
    number = str(run.plan.to_version.number)
    assert endpoint.processes[0].unload(number, endpoint.slug).status_code == 200
    return _advancing(endpoint, case, run, "h1")


def _out_of_service(town: Town, endpoint: Endpoint, case: Case) -> Death:
    """One host can be spared: the one that was out when its worker died goes on, though no other could leave."""
    return _advancing(endpoint, case, town.run(endpoint, strategy="recreate", min_hosts_serving=2))


def _shares(town: Town, endpoint: Endpoint, case: Case) -> Death:
    return _advancing(endpoint, case, town.run(endpoint, strategy="weighted"))


def _bias_served(endpoint: Endpoint) -> float:
    live = endpoint.served
    return BIASES.get(live.pk, -2.0 if live == endpoint.bad else 2.0)


def _alike(endpoint: Endpoint) -> Version:
    """A new version that answers much as the one that is served."""
    bias = _bias_served(endpoint)
    version = endpoint.add_version(3 + endpoint.model.versions.count(), bias=bias)
    BIASES[version.pk] = bias
    return version


def _unlike(endpoint: Endpoint) -> Version:
    """A version none of whose answers is that of the one that is served."""
    return endpoint.good if _bias_served(endpoint) < 0 else endpoint.bad


def _shadow(town: Town, endpoint: Endpoint, case: Case) -> Death:
    """Its edges from the verdict on: a shadow that has compared enough, whose time is up when it is next looked at."""
    alike = "whose version is compared" in case.story
    plan = endpoint.awaiting(
        _alike(endpoint) if alike else _unlike(endpoint),
        kind="release",
        shadow={"seconds": 1, "rows": 60, **(LENIENT if alike else {})},
    )
    endpoint.approve(plan, endpoint.commander)
    run = town.begun(plan)
    if case.edge not in ("intent:shadow", "step:golden_ok>shadowed"):
        _compare(endpoint, run)
        if case.edge in ("intent:end_shadow", "step:compensating>restored", "run:compensating>compensated"):
            person = endpoint.commander
            runs.compensate(run_id=run.pk, user=person, reason="It was wrong.", actor=actor_for(user=person))
    return DeathOfAShadow(case, endpoint, run, "rollback.advance", (run.pk,), case.point())


def _compare(endpoint: Endpoint, run: Run) -> None:
    def at(moment: str) -> None:
        step = HostStep.objects.get(run=run, host__name="h1")
        kept = {**step.baseline["shadow"], "since": moment}
        HostStep.objects.filter(pk=step.pk).update(baseline={**step.baseline, "shadow": kept})

    def counted() -> bool:
        advance.advance(run.pk)
        return figures_of(HostStep.objects.filter(run=run, baseline__has_key="shadow")).rows >= 60

    def begun() -> bool:
        advance.advance(run.pk)
        return HostStep.objects.filter(run=run, state=StepState.SHADOWED).exists()

    until(begun)
    at("2999-01-01T00:00:00+00:00")
    asked_by(endpoint)
    until(counted)
    at("2020-01-01T00:00:00+00:00")


def _canary_switched(town: Town, endpoint: Endpoint) -> Run:
    return town.warm(endpoint, **CANARY_ONLY)


def _turning_back(town: Town, endpoint: Endpoint, case: Case) -> Death:
    return _by_commander(endpoint, case, _canary_switched(town, endpoint), "compensate")


def _compensation(town: Town, endpoint: Endpoint, case: Case) -> Death:
    return _turned_back(endpoint, case, _canary_switched(town, endpoint))


def _compensation_that_loads(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = _canary_switched(town, endpoint)
    _forget_old(endpoint, run)
    return _turned_back(endpoint, case, run)


def _compensation_out_of_service(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = town.warm(endpoint, strategy="recreate", min_hosts_serving=2, **CANARY_ONLY)
    return _turned_back(endpoint, case, run)


def _forget_old(endpoint: Endpoint, run: Run) -> None:
    """The old version leaves the memory of the first host, which the run has switched."""
    assert run.plan.from_version is not None
    assert endpoint.processes[0].unload(str(run.plan.from_version.number), endpoint.slug).status_code == 200


def _turned_back(endpoint: Endpoint, case: Case, run: Run) -> Death:
    person = endpoint.commander
    runs.compensate(run_id=run.pk, user=person, reason="It does not help.", actor=actor_for(user=person))
    return _advancing(endpoint, case, run)


def _stopping(town: Town, endpoint: Endpoint, case: Case) -> Death:
    return _by_commander(endpoint, case, _canary_switched(town, endpoint), "stop")


def _losing(town: Town, endpoint: Endpoint, **wish: Any) -> Run:
    assert isinstance(endpoint, WithAHostOfItsOwn)
    run = town.run(endpoint, tolerated_absences=0, **wish)
    endpoint.lose()
    return run


def _release(town: Town, endpoint: Endpoint, case: Case) -> Death:
    return _advancing(endpoint, case, _losing(town, endpoint, kind="release"))


def _halting(town: Town, endpoint: Endpoint, case: Case) -> Death:
    return _advancing(endpoint, case, _losing(town, endpoint))


def _resuming(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = _losing(town, endpoint)
    while run.state == RunState.RUNNING:
        advance.advance(run.pk)
        run.refresh_from_db()
    return _by_commander(endpoint, case, run, "resume")


def _watch(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = town.warm(endpoint)
    return Death(case, endpoint, run, "rollback.watch", (run.pk,), case.point())


def _undoable(town: Town, endpoint: Endpoint) -> Run:
    """The endpoint's last run where that can be undone; else another."""
    last = Run.objects.filter(endpoint=endpoint.endpoint).order_by("-started_at").first()
    return town.warm(endpoint) if last is None or undo.why_not_undone(last) else last


def _asking_for_an_undo(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = _undoable(town, endpoint)
    said = (run.pk, endpoint.responder.username)
    return DeathOfAnUndo(case, endpoint, None, "undo", said, case.point(), undone=run)


def _preflight_of_an_undo(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = _undoable(town, endpoint)
    plan = clicked_undo(endpoint, run)
    return DeathOfAnUndo(case, endpoint, None, "rollback.preflight", (plan.pk,), case.point(), plan, undone=run)


def _preflight_of_a_cold_undo(town: Town, endpoint: Endpoint, case: Case) -> Death:
    _forget_old(endpoint, _undoable(town, endpoint))
    return _preflight_of_an_undo(town, endpoint, case)


def _approved_undo(town: Town, endpoint: Endpoint) -> Plan:
    plan = prepared(endpoint, clicked_undo(endpoint, _undoable(town, endpoint)))
    endpoint.approve(plan, endpoint.commander)
    return plan


def _start_of_an_undo(town: Town, endpoint: Endpoint, case: Case) -> Death:
    plan = _approved_undo(town, endpoint)
    return Death(case, endpoint, None, "rollback.request_decided", (plan.request_id,), case.point(), plan)


def _undo(town: Town, endpoint: Endpoint, case: Case) -> Death:
    later = case.edge in SECOND_HOST and case.moment == "after_commit"
    return _advancing(endpoint, case, town.begun(_approved_undo(town, endpoint)), "h2" if later else "")


def composed(endpoint: Endpoint) -> Version:
    """The endpoint's bad version with some tensors of the good one, others each time."""
    before = Composition.objects.filter(model=endpoint.model).count()
    names = sorted(tensors_of(endpoint.bad))
    chosen = tuple(name for bit, name in enumerate(names) if (before + 1) >> bit & 1)
    asked = ask_composition(base=endpoint.bad, other=endpoint.good, kind="layers", patterns=chosen, actor=SETUP)
    compose(composition_id=asked.pk)
    asked.refresh_from_db()
    assert asked.version is not None, asked.reason
    return asked.version


def _asking_for_a_rehearsal(town: Town, endpoint: Endpoint, case: Case) -> Death:
    version = composed(endpoint)
    said = (version.pk, endpoint.endpoint.pk, endpoint.responder.username)
    return DeathInARehearsal(case, endpoint, None, "rehearse", said, case.point(), version=version)


def _rehearsal(town: Town, endpoint: Endpoint, case: Case) -> Death:
    version = composed(endpoint)
    trial = ordered_rehearsal(endpoint, version)
    return DeathInARehearsal(case, endpoint, None, "rollback.try", (trial.pk,), case.point(), version=version)


def _undo_window(town: Town, endpoint: Endpoint, case: Case) -> Death:
    run = town.warm(endpoint)
    Run.objects.filter(pk=run.pk).update(undo_due_at=timezone.now())
    return Death(case, endpoint, run, "rollback.close_undo", (run.pk,), case.point())


END = {
    "turning back": RunState.COMPENSATED,
    "compensation": RunState.COMPENSATED,
    "release with a host that is gone": RunState.COMPENSATED,
    "stopping": RunState.STOPPED,
    "compensation that loads the old version again": RunState.COMPENSATED,
    "compensation that takes its hosts out of service": RunState.COMPENSATED,
    "release whose version does not compare": RunState.COMPENSATED,
    "asking for a rehearsal": TrialState.DONE,
    "rehearsal": TrialState.DONE,
}
"""Where a story's run or trial ends; elsewhere it has switched."""

PREPARE = {
    "start": _start,
    "run": _run,
    "run with a version that no host holds": _unknown_version,
    "run with a version that is not in memory": _cold_version,
    "run that takes its hosts out of service": _out_of_service,
    "run whose canary takes shares": _shares,
    "release whose version is compared first": _shadow,
    "release whose version does not compare": _shadow,
    "turning back": _turning_back,
    "compensation": _compensation,
    "compensation that loads the old version again": _compensation_that_loads,
    "compensation that takes its hosts out of service": _compensation_out_of_service,
    "release with a host that is gone": _release,
    "run that halts": _halting,
    "resuming": _resuming,
    "stopping": _stopping,
    "watch": _watch,
    "asking for an undo": _asking_for_an_undo,
    "preflight of an undo": _preflight_of_an_undo,
    "preflight of an undo that loads the old version again": _preflight_of_a_cold_undo,
    "start of an undo": _start_of_an_undo,
    "undo": _undo,
    "asking for a rehearsal": _asking_for_a_rehearsal,
    "rehearsal": _rehearsal,
    "end of the undo window": _undo_window,
}
