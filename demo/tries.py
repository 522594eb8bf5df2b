"""Three things to try while the demo runs. Each is done for real, and then looked for where a person would look."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from demo import people
from demo.board import TITLES, Board, Tried
from demo.build import cached
from demo.scenario import PATIENCE_SECONDS, Scenario, ScenarioFailed, run_verifier, wait_for
from demo.stage import COMPRESSED, ENDPOINT, ROOT

LIAR = "gpu-b"
LIES_ON_SECONDS = 45
ALERT_SECONDS = 40
TURN_SECONDS = 0.005


class Tries:
    """The three, on a story that was told to its end. `patient` leaves time to look before a lie is ended."""

    def __init__(self, scenario: Scenario, board: Board, say: Callable[[str], None], *, patient: bool) -> None:
        self.scenario, self.board, self.say, self.patient = scenario, board, say, patient
        self.stage, self.told = scenario.stage, scenario.told
        self.cache = ROOT / "var" / "demo-cache"
        self.entries = {name: Tried() for name in TITLES}
        self.name = ""
        board.write(self.entries)

    def play(self, name: str) -> bool:
        """Do one of them and see it found. False, with the reason on the board, when it was not."""
        self.name = name
        self.entries[name] = Tried("running")
        self.board.write(self.entries)
        self.say(TITLES[name].upper())
        ways: dict[str, Callable[[], None]] = {"lie": self._lie, "kill": self._kill, "tamper": self._tamper}
        try:
            ways[name]()
            self.entries[name].state = "found"
        except Exception as error:  # whatever it was, the demo goes on and says why
            self.entries[name].state = "failed"
            self._tell(f"This did not go as it must. {type(error).__name__}: {error}")
        self.board.write(self.entries)
        return self.entries[name].state == "found"

    def _tell(self, line: str) -> None:
        self.say(f"        {line}")
        self.entries[self.name].lines.append(line)
        self.board.write(self.entries)

    def _link(self, label: str, address: str) -> None:
        self.entries[self.name].links.append((label, address))

    # --- a host that lies -----------------------------------------------------------------------------------------

    def _lie(self) -> None:
        from registry.models import Health, Placement

        def placement() -> Placement:
            return Placement.objects.select_related("desired").get(endpoint__slug=ENDPOINT, host__name=LIAR)

        wait_for(f"{LIAR} to serve as it should", lambda: placement().health == Health.SERVING)
        began, sign = _now(), self.stage.lie_file(LIAR)
        sign.touch()
        self._tell(f"{LIAR} computes with other weights from now on, and claims the digest that it was given.")
        self._link(f"{ENDPOINT}: what each host serves", f"/endpoints/{ENDPOINT}/")
        try:
            found: Placement = wait_for(
                f"the golden test of {LIAR} to fail",
                lambda: row if (row := placement()).health == Health.WRONG_OUTPUT else None,
            )
            assert found.desired is not None
            claims = "the released one" if found.observed_digest == found.desired.digest else "another one"
            self._tell(f"Its state, read back, is no help: digest {found.observed_digest[:12]}…, {claims}.")
            self._tell(f"Found after {_since(began)} by the golden test: {found.health_reason}")
            self._alert(began)
            if self.patient:
                self._tell(f"It lies on for {LIES_ON_SECONDS} s, so that you can look at it.")
                time.sleep(LIES_ON_SECONDS)
        finally:
            sign.unlink(missing_ok=True)
        wait_for(f"{LIAR} to pass its golden test again", lambda: placement().health == Health.SERVING)
        self._tell(f"{LIAR} has its own weights again, and passes the golden test.")

    def _alert(self, began: Any) -> None:
        from incidents.models import IncidentAlert
        from monitoring.models import Alert

        def look() -> Any:
            return Alert.objects.filter(endpoint__slug=ENDPOINT, fired_at__gte=began).order_by("fired_at").first()

        try:
            alert = wait_for("an alert", look, ALERT_SECONDS)
        except ScenarioFailed:
            self._tell(f"Monitoring raised no alert within {ALERT_SECONDS} s: two thirds of the answers are right.")
            return
        self._tell(f"Alert after {_since(began, alert.fired_at)}: {alert.summary}")
        joined = wait_for("its incident", lambda: IncidentAlert.objects.filter(alert=alert).first())
        self._link(f"{joined.incident.ref}: the incident that it opened", f"/incidents/{joined.incident.ref}/")

    # --- a worker that is killed ----------------------------------------------------------------------------------

    def _kill(self) -> None:
        from incidents.rollback.models import HostStep, Run

        version = self._other_good_version()
        plan = self.scenario.proposed_release(version, reason="To kill the worker that carries it out.")
        self._tell(f"Version {version.number} is released to the three hosts, by plan and two approvals.")
        self._link("the plan and its run, host by host", f"/rollback/plans/{plan.pk}/")
        deed = _Deed(plan.pk, lambda: self.stage.stack.pid("worker-rollback"))
        deed.start()
        self.scenario.approve_release(plan)
        deed.join(PATIENCE_SECONDS)
        if not deed.words:
            raise ScenarioFailed("The run was never seen between two steps.")
        seconds = COMPRESSED["LASTGOOD_LEASE_SECONDS"][0]
        self._tell(f"{deed.words} Nobody may touch the run before the dead worker's lease of {seconds} s has run out.")
        run: Run = self.scenario.switched(plan)
        assert run.switched_at is not None
        took = _since(deed.at, run.switched_at)
        self._tell(f"Then the clock gave it to another worker, and all hosts had switched {took} after the kill.")
        for step in HostStep.objects.filter(run=run).select_related("host").order_by("host__name"):
            switched = self.stage.switches(step.host.name, run.fence)
            note = f" ({step.notes['switched']})" if step.notes.get("switched") else ""
            self._tell(f"{step.host.name}: its own log counts {switched} switch under fence {run.fence}{note}.")
            if switched != 1:
                raise ScenarioFailed(f"{step.host.name} switched {switched} times.")
        self._tell(f"The traffic's failed requests so far: {self.stage.traffic()['failed']}.")

    def _other_good_version(self) -> Any:
        """A third version, trained on an extract without a mistake, or version 1 where that one is live."""
        from demo.registration import register_version
        from registry.models import Deployment, Version

        later = Version.objects.filter(model=self.told.v1.model, number__gt=self.told.v2.number)
        third = later.exclude(reason_taken="composed").first()
        if third is None:
            self._tell("Training another version on an extract without the mistake, unless one is kept from before.")
            subprocess.run([sys.executable, "-m", "demo.build", str(self.cache), "none"], cwd=ROOT, check=True)
            third = register_version(cached(self.cache, "none")[1], parent=self.told.v1)
        live = Deployment.objects.filter(endpoint__slug=ENDPOINT, until=None, version=third).exists()
        return self.told.v1 if live else third

    # --- a log that is tampered with ------------------------------------------------------------------------------

    def _tamper(self) -> None:
        from accounts.models import User
        from audit.models import AuditEvent

        decision = AuditEvent.objects.filter(action="approval.decide", outcome="success").order_by("-pk")
        event = next(found for found in decision if found.target_id == str(self.told.plan.request_id))
        leaf, rosa = event.leaf.leaf_index, User.objects.get(username="rosa").pseudonym
        forge(event, rosa)
        self._tell(f"Leaf {leaf} now says that Rosa Marini gave the second approval of her own plan.")
        self._link("the forged record on the auditors' page", f"/audit/events/{event.event_uuid}/")
        done = self._audit_verify()
        named = f"The first bad leaf is {leaf}." in done.stderr
        for line in done.stdout.splitlines()[:2]:
            self._tell(f"manage.py audit verify: {line}")
        if done.returncode == 0 or not named:
            raise ScenarioFailed(f"audit verify did not name leaf {leaf}: {done.stdout[-300:]}{done.stderr[-300:]}")
        self._tell(f"manage.py audit verify ends with status {done.returncode}: The first bad leaf is {leaf}.")
        self._tell(f"The verifier in an exported bundle: {self._bundle_verdict()}")
        self._tell("This log stays broken: nobody can put it right unseen. To start afresh: Ctrl-C, then make demo.")

    def _audit_verify(self) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "manage.py", "audit", "verify"]
        env = dict(self.stage.stack.env)
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    def _bundle_verdict(self) -> str:
        bundle = self.stage.var / "tampered.zip"
        with self.scenario.person("idris") as idris:
            bundle.write_bytes(people.export_log(idris))
        done = run_verifier(bundle, self.scenario.log_key())
        if done.returncode == 0:
            raise ScenarioFailed("The bundle of a forged log verified.")
        return f"The bundle did not verify (exit {done.returncode}): {(done.stdout + done.stderr).splitlines()[-1]}"


class _Deed(threading.Thread):
    """Kills the worker as soon as the first host is past its golden test. `words` says what it was doing.

    From the run's beginning the worker goes on in short turns and is stopped for each look: on a busy machine the
    moment would pass unseen.
    """

    def __init__(self, plan_id: Any, pid: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.plan_id, self.pid = plan_id, pid
        self.words, self.at = "", None

    def run(self) -> None:
        from django.db import connection

        deadline, worker = time.monotonic() + PATIENCE_SECONDS, self.pid()
        try:
            while time.monotonic() < deadline and not self.words:
                self._look(worker)
                time.sleep(TURN_SECONDS)
        finally:
            connection.close()

    def _look(self, worker: int) -> None:
        from incidents.rollback.models import HostStep

        steps = HostStep.objects.filter(run__plan=self.plan_id)
        if not steps.exists():
            return
        os.kill(worker, signal.SIGSTOP)
        step = None
        try:
            under_way = steps.filter(state__in=["golden_ok", "switched", "postcheck_ok"])
            step = under_way.exclude(run__lease_holder="").select_related("host").first()
        finally:
            os.kill(worker, signal.SIGCONT if step is None else signal.SIGKILL)
        if step is not None:
            self.at = _now()
            doing = f"its call to {step.intent} under way" if step.intent else f"at the step {step.get_state_display()}"
            self.words = f"Worker {worker} was killed while it had {step.host.name} in hand, {doing}."


def forge(event: Any, pseudonym: str) -> None:
    """As the database's owner: let the record, and the columns beside it, name another person."""
    from django.db import connections, transaction

    from audit.canonical import canonical_bytes

    record = json.loads(bytes(event.canon))
    record["actor"]["id"] = pseudonym
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_no_change")
        changed = [canonical_bytes(record), pseudonym, event.pk]
        cursor.execute("UPDATE audit_event SET canon = %s, actor = %s WHERE id = %s", changed)
        cursor.execute("ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_no_change")


def _now() -> Any:
    from audit.clock import database_now

    return database_now()


def _since(began: Any, until: Any = None) -> str:
    return f"{((until or _now()) - began).total_seconds():.1f} s"
