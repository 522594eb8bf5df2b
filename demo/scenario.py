"""The story, told once from beginning to end. Everything after the fault is found out by the product itself."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from demo import people, response
from demo.artifacts import Package
from demo.browser import Person
from demo.mailbox import Letter
from demo.registration import PEOPLE, STATUS_PAGE, register_people, register_service, register_version
from demo.stage import ENDPOINT, Stage

Found = TypeVar("Found")
SIGNERS = (
    ("ana", "sign_off", "It says what happened."),
    ("vera", "acceptance", "Letters go to the right people again."),
)
Say = Callable[[str], None]
PATIENCE_SECONDS = 180.0
"""Nothing of the story takes more than half a minute on two idle cores; they may be busy with other things."""


class ScenarioFailed(RuntimeError):
    """The story did not go as it must; the message says where."""


@dataclass
class Told:
    """What the report is made from: moments by the database's clock, and the rows' identities."""

    fault: str
    password: str
    server: str
    moments: dict[str, datetime] = field(default_factory=dict)
    incident: str = ""
    plan: Any = None
    refused_self_approval: bool = False
    v1: Any = None
    v2: Any = None
    status_words: list[str] = field(default_factory=list)


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = PATIENCE_SECONDS) -> Found:
    """Look until something is there. Raises ScenarioFailed with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise ScenarioFailed(f"Waited {seconds:.0f} s in vain for {what}.")
        time.sleep(0.25)


class Scenario:
    def __init__(self, stage: Stage, told: Told, packages: tuple[Package, Package], say: Say, offer: "Offer") -> None:
        self.stage = stage
        self.told = told
        self.packages = packages
        self.say = say
        self.offer = offer

    def person(self, username: str) -> Person:
        return Person(self.told.server, username, self.told.password)

    # --- before ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """People, service, hosts; version 1 released and soaked under live traffic."""
        installation = register_people(self.told.password)
        self.stage.start_hosts(installation.ingest_token)
        register_service(self.stage)
        self.prepare_people()
        self.stage.wait_for_hosts()
        self.told.v1 = register_version(self.packages[0])
        self.say(f"registered version 1, {_share(self.packages[0])} right on its holdout")
        self._release(self.told.v1, gates_off=False)
        self.stage.start_traffic(installation.ingest_token)
        self.say("version 1 answers on three hosts; live traffic: the people of 2017 and 2018")
        wait_for("version 1 to become last-good", self._last_good)
        self.say("version 1 has soaked and is last-good")

    def prepare_people(self) -> None:
        """Who is called, by which runbook they work, what is announced, and a reader who wants to be told."""
        with self.person("ada") as ada:
            response.set_up_on_call(ada, "rosa", PEOPLE["rosa"][0])
            response.plan_maintenance(ada)
        with self.person("kofi") as kofi:
            response.write_runbook(kofi)
        reader = self.person("reader")
        response.subscribe(reader)
        response.confirm(reader, self.letter(response.READER, "/confirm/"))
        self.say("Rosa Marini is on call; a runbook is written, maintenance announced, a reader will be told by mail")

    def letter(self, to: str, link: str) -> Letter:
        """The newest letter to an address that holds such a link."""

        def look() -> Letter | None:
            return next((one for one in reversed(self.stage.mailbox.letters(to)) if one.link(link)), None)

        return wait_for(f"a letter to {to}", look)

    def _last_good(self) -> Any:
        from registry.models import Alias

        return Alias.objects.filter(name="last-good", version=self.told.v1).exists()

    def _release(self, version: Any, *, gates_off: bool) -> None:
        """A release goes the same way as a rollback: plan, preflight, two approvals, waves."""
        reason = "Release gates are switched off for this one deployment." if gates_off else "First release."
        plan = self.proposed_release(version, reason=reason, gates_off=gates_off)
        self.approve_release(plan)
        self.switched(plan)

    def proposed_release(self, version: Any, *, reason: str, gates_off: bool = False) -> Any:
        """A release by the administrator that waits for its approvals."""
        from accounts.actions import actor_for
        from accounts.models import User
        from incidents.rollback.plan import propose
        from registry.models import Endpoint

        ada = User.objects.get(username="ada")
        plan = propose(
            kind="release",
            endpoint=Endpoint.objects.get(slug=ENDPOINT),
            to_version=version,
            reason=reason,
            user=ada,
            actor=actor_for(user=ada),
            gates_off=gates_off,
            wave_soak_seconds=1 if gates_off else 0,
            watch_seconds=1,
        )
        return wait_for("the release's preflight", lambda: self._preflighted(plan.pk))

    def approve_release(self, plan: Any) -> None:
        for username in ("kofi", "ana"):
            with self.person(username) as person:
                people.approve(person, plan.request_id)

    def _preflighted(self, plan_id: Any) -> Any:
        from incidents.rollback.models import Plan, PlanState

        plan = Plan.objects.select_related("request").get(pk=plan_id)
        if plan.state == PlanState.VOID:
            raise ScenarioFailed(f"The plan was voided: {plan.void_reason}")
        failed = plan.preflights.filter(answer="fail").first()
        if failed is not None:
            raise ScenarioFailed(f"Preflight: {failed.question} {failed.observed}")
        return plan if plan.request_id else None

    def switched(self, plan: Any) -> Any:
        """The run of a plan, once all of its hosts have switched."""
        from incidents.rollback.models import Run, RunState

        def look() -> Any:
            run = Run.objects.filter(plan=plan).first()
            if run is not None and run.state not in (RunState.RUNNING, RunState.SWITCHED):
                raise ScenarioFailed(f"The run is {run.get_state_display().lower()}: {run.state_reason}")
            return run if run is not None and run.state == RunState.SWITCHED else None

        return wait_for(f"all hosts to switch to version {plan.to_version.number}", look)

    # --- the fault ------------------------------------------------------------------------------------------------

    def put_the_fault_in(self) -> None:
        """Release version 2, which passed its own offline validation, with the release gates off."""
        self.told.moments["before_fault"] = _now()
        self.told.v2 = register_version(self.packages[1], parent=self.told.v1)
        self.say(f"registered version 2, {_share(self.packages[1])} right on its holdout: it passes its validation")
        self._release(self.told.v2, gates_off=True)
        self.told.moments["fault"] = _now()
        self.say("version 2 answers on three hosts. From here on, everything is found out by the product")

    # --- the incident ---------------------------------------------------------------------------------------------

    def see_it(self) -> None:
        """Monitoring fires an alert, and one incident is opened with its evidence."""
        from incidents.models import Incident, IncidentAlert
        from monitoring.models import Alert

        number = str(self.told.v2.number)
        alert = wait_for("an alert", lambda: Alert.objects.filter(version=number).order_by("fired_at").first())
        self.told.moments["alert"] = alert.fired_at
        self.say(f"ALERT  {alert.summary}")
        link = wait_for("an incident", lambda: IncidentAlert.objects.filter(alert=alert).first())
        incident = Incident.objects.get(pk=link.incident_id)
        self.told.moments["incident"] = link.joined_at
        self.told.incident = incident.ref
        self.say(f"{incident.ref}  {incident.title}")
        for claim in incident.evidence.all():
            self.say(f"        {claim.claim}")

    def decide(self) -> None:
        """Triage, ranked targets, a plan; the proposer's own approval is refused; two others approve."""
        from incidents.rollback.models import Candidate, Plan

        ref = self.told.incident
        with self.person("rosa") as rosa:
            call = self.letter("rosa@example.org", "/on-call/answer/")
            self.say(f"mail to Rosa Marini, who is on call: {call.subject}")
            response.answer_call(rosa, call)
            people.triage(rosa, ref)
            self.say(f"Rosa Marini answered the call and triaged {ref}")
            self._call_roll(ref)
            response.work(rosa, ref)
            self.say("the runbook's steps are ticked off, and a task is done")
            best = wait_for("ranked targets", lambda: self._ranked(ref))
            for candidate in Candidate.objects.filter(incident_ref=ref).select_related("to_version"):
                self.say(
                    f"        target {candidate.rank}: {candidate.to_version}, {'; '.join(candidate.reasons)[:300]}"
                )
            people.propose(rosa, ref, best.to_version.number)
            plan = wait_for("a plan", lambda: Plan.objects.filter(incident_ref=ref, kind="rollback").first())
            plan = wait_for("the preflight", lambda: self._preflighted(plan.pk))
            self.told.plan = plan
            self.say(f"plan {plan.plan_hash[:16]}… is preflighted and waits for two approvals")
            self.told.refused_self_approval = people.try_own_approval(rosa, plan.request_id)
            self.say("Rosa's own approval was refused, on record")
        if not self.told.refused_self_approval:
            raise ScenarioFailed("The proposer's own approval was not refused.")
        self.offer.approve(plan, self.told)
        self.told.moments["approved"] = self._approved_at(plan)
        self.say("two other people approved it")

    def _call_roll(self, ref: str) -> None:
        with self.person("kofi") as kofi:
            response.call_roll(kofi, ref)
        with self.person("vera") as vera:
            response.say_seen(vera, ref)

    def _ranked(self, ref: str) -> Any:
        from incidents.rollback.models import Candidate

        return Candidate.objects.filter(incident_ref=ref, eligible=True).order_by("rank").first()

    def _approved_at(self, plan: Any) -> datetime:
        from accounts.models import ApprovalDecision

        newest = ApprovalDecision.objects.filter(request_id=plan.request_id, decision="approve").order_by("-decided_at")
        return newest[0].decided_at

    def roll_back(self) -> None:
        """The rollback runs by itself: canary, soak, the rest; then it is watched under live traffic."""
        from incidents.rollback.models import Watch, WatchState

        run = self.switched(self.told.plan)
        self.told.moments["switched"] = run.switched_at
        self.say(f"all hosts switched back to {self.told.plan.to_version}; watching it under live traffic")

        def verified() -> Any:
            watch = Watch.objects.filter(run=run).first()
            if watch is not None and watch.state in (WatchState.FAILED, WatchState.INCONCLUSIVE):
                raise ScenarioFailed(f"The verification ended {watch.state}: {watch.state_reason}")
            return watch if watch is not None and watch.state == WatchState.PASSED else None

        watch = wait_for("the verification", verified)
        self.told.moments["verified"] = watch.ended_at
        for check in run.checks.filter(stage="watch"):
            self.say(f"        {check.name}: {check.answer}, {check.observed}")
        self.say("verified")

    def close(self) -> None:
        """Resolved by the commander, reviewed, and told to the readers of the status page."""
        from incidents.models import StatusPost

        ref = self.told.incident
        with self.person("kofi") as kofi:
            people.resolve(kofi, ref)
            wait_for("the review's draft", lambda: self._drafted(ref))
            self._review(kofi, ref)
        wait_for("the last post on the status page", lambda: self._told_resolved(ref))
        for row in StatusPost.objects.filter(incident__ref=ref).order_by("at"):
            self.told.status_words.append(row.status)
            self.say(f"        status page {STATUS_PAGE}: {row.get_status_display()}: {row.text}")
        told = [letter.subject for letter in self.stage.mailbox.letters(response.READER)]
        self.say(
            f"{ref} is resolved, reviewed and signed off; the reader had {len(told)} letters, the last: {told[-1]}"
        )

    def _review(self, kofi: Person, ref: str) -> None:
        """Filled in, with its causes, published; signed off by one person, and the state accepted by another."""
        people.review(kofi, ref)
        response.name_causes(kofi, ref)
        people.publish(kofi, ref)
        for username, kind, words in SIGNERS:
            response.ask_to_sign(kofi, ref, PEOPLE[username][0], kind)
            with self.person(username) as signer:
                response.sign(signer, ref, words)
        self.say(f"how incidents went: {response.read_analytics(kofi)}")

    def _drafted(self, ref: str) -> bool:
        from incidents.models import Review

        return Review.objects.filter(incident__ref=ref).exclude(summary="").exists()

    def _told_resolved(self, ref: str) -> bool:
        from incidents.models import StatusPost

        return StatusPost.objects.filter(incident__ref=ref, status="resolved").exists()

    # --- the record -----------------------------------------------------------------------------------------------

    def prove(self, bundle: Path) -> dict[str, Any]:
        """Verify the log, export it as the auditor, and verify the bundle with the verifier inside it, elsewhere."""
        self.stage.stack.manage("audit", "verify")
        self.say("the log verifies: tree, signatures, every event in it")
        with self.person("idris") as idris:
            bundle.write_bytes(people.export_log(idris))
        vkey = self.log_key()
        verdict = run_verifier(bundle, vkey)
        if verdict.returncode != 0:
            said = (verdict.stdout + verdict.stderr)[-800:]
            raise ScenarioFailed(f"The bundle did not verify (exit {verdict.returncode}): {said}")
        self.say(f"the exported bundle verifies with the verifier inside it: {verdict.stdout.strip().splitlines()[-1]}")
        return {"log_key": vkey, "bundle_verified": verdict.returncode == 0}

    def log_key(self) -> str:
        from audit.queries import status

        return status().vkey


class Offer:
    """Who gives the two approvals. Here the demo's people do, by themselves."""

    def approve(self, plan: Any, told: Told) -> None:
        for username in ("kofi", "ana"):
            with Person(told.server, username, told.password) as person:
                people.approve(person, plan.request_id)


def run_verifier(bundle: Path, vkey: str) -> "subprocess.CompletedProcess[str]":
    """Run verify.py out of the bundle, in a Python that sees the standard library and `cryptography` alone."""
    import zipfile

    home = bundle.parent / "demo-verifier"
    home.mkdir(exist_ok=True)
    with zipfile.ZipFile(bundle) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith("verify.py"))
        (home / "verify.py").write_bytes(archive.read(name))
    python = _bare_python(home)
    command = [str(python), "verify.py", str(bundle.resolve()), "--key", vkey]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)


def _bare_python(home: Path) -> Path:
    """A virtual environment without pip that holds `cryptography` and what it needs, linked from this one."""
    import importlib.util
    import venv

    environment = home / "venv"
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=False, clear=True)
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for package in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        source = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
        link = site / source.name
        if not link.exists():
            link.symlink_to(source)
    return python


def _share(made: Package) -> str:
    return f"{made.metrics['holdout']['accuracy'] * 100:.1f} %"


def _now() -> datetime:
    from django.utils import timezone

    return timezone.now()
