"""How long the offline verifier takes for a bundle of 100,000 events, as an auditor runs it: one process, one core.

The log is a thousand incidents, each with a rollback that two people approved and 36 hosts carried out, so that the
meaning of each run and step is judged as well as tree, signatures, reasons and table. The bundle of the whole log and
that of a span in the midst of a longer one are verified; the figure is the slower. ``floor`` is reading the whole
bundle's records and hashing them into a tree. EVENTS=10000 makes the bundles smaller.
"""

import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

from audit.canonical import canonical_bytes
from audit.note import Signer, read_key_file
from audit.verify import installed_policies, policy_hash
from bench.audit_events_per_second import database
from bench.million import Drawn, build
from bench.report import machine, report

EVENTS = int(os.environ.get("EVENTS", "100000"))
MOST_SECONDS = 30.0
BEFORE, AROUND, HOSTS = 2, 100, 36
POLICY = installed_policies()["rollback-high-production"]
Told = tuple[str, str, str, dict[str, Any]]


class Rollbacks(Drawn):
    """Two roles, then incidents of a hundred events each, one every few seconds."""

    def __init__(self, events: int, origin: str) -> None:
        super().__init__(events, origin)
        self.step = datetime.timedelta(seconds=3)

    def event(self, index: int) -> tuple[bytes, bytes]:
        at, self.index = self.moment(index), index
        number, place = divmod(index - BEFORE, AROUND)
        incident = f"INC-{number + 1}" if index >= BEFORE else ""
        if incident:
            action, actor, outcome, data = self._told(number, place, at)
        else:
            user, role = (("u-bob", "commander"), ("u-carol", "approver"))[index]
            data = {"grant": f"g-{user}", "user": user, "role": role, "scope": {}, "counts_from": at}
            action, actor, outcome = "role.grant", "svc:manage", "success"
        kind = "service" if actor.startswith("svc:") else "user"
        identity = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        about = ("approval_request", data["request"]) if action.startswith("approval.") else ("run", f"run-{number}")
        record = {
            "v": 1,
            "log_origin": self.origin,
            "event_id": identity,
            "occurred_at": at,
            "recorded_by": "lastgood_app/bench",
            "action": action,
            "outcome": outcome,
            "actor": {"kind": kind, "id": actor, "auth": {"method": "session"}},
            "target": {"kind": about[0], "id": about[1], "version": ""},
            "data": data,
        }
        if incident:
            record |= {"incident": incident, "incident_seq": place + 1}
            self.numbers[incident] = place + 1
        canon = canonical_bytes(record)
        columns = [index + 1, identity, f"\\\\x{canon.hex()}", at, action, outcome, kind, actor, *about, ""]
        line = "\t".join(str(column) for column in [*columns, incident, place + 1 if incident else "\\N"])
        return canon, f"{line}\n".encode()

    def moment(self, index: int) -> str:
        return (self.begin + index * self.step).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _told(self, number: int, place: int, at: str) -> Told:
        """What happens at that place of an incident: action, actor, outcome, data."""
        plan, request = f"{number:064x}", f"request-{number}"
        asked = {"request": request, "subject_hash": plan}
        proof = {"decision": "approve", "auth_time": at}
        seats = [{"by": "u-bob", "role": "commander"}, {"by": "u-carol", "role": "approver"}]
        terms = {"policy": POLICY, "policy_hash": policy_hash(POLICY)}
        opened = {"proposer": "u-dora", "expires_at": self.moment(self.index + 500)}
        versions = {"from": "2" * 64, "to": "1" * 64}
        names = [f"gpu-{host}" for host in range(HOSTS)]
        told: dict[int, Told] = {
            20: ("approval.open", "u-dora", "success", asked | terms | opened),
            21: ("approval.decide", "u-bob", "success", asked | proof | {"role": "commander", "roles": ["commander"]}),
            22: ("approval.decide", "u-carol", "success", asked | proof | {"role": "approver", "roles": ["approver"]}),
            23: ("approval.consume", "svc:worker", "success", asked | {"seats": seats}),
            24: ("rollback.run.start", "svc:worker", "success", {
                "run": f"run-{number}", "plan_hash": plan, "request": request, "kind": "rollback", "hosts": names,
                "policy_hash": policy_hash(POLICY), "endpoint": "income-production", **versions}),
        }  # fmt: skip
        if place in told:
            return told[place]
        if place < 25 or place >= 25 + 2 * HOSTS:
            return "incident.update", "u-dora", "success", {"claims": ["it is slow", "x" * 200], "place": place}
        step, part = divmod(place - 25, 2)
        done = {"run": f"run-{number}", "plan_hash": plan, "host": names[step], "step": "switch", "version": "1" * 64}
        return f"rollback.step.{('intent', 'outcome')[part]}", "svc:worker", ("intent", "success")[part], done


def exported(directory: Path, signer: Signer) -> dict[str, Path]:
    """The bundles, each with its receipt."""
    from django.db import connections

    from audit.actions import record_export, service_actor
    from audit.export import Scope, add_receipt, write_bundle
    from audit.models import AuditEvent
    from audit.sequencer import Sequencer, SignedMemory

    sequencer = Sequencer(signer, SignedMemory(directory / "log.key.last"))
    if not sequencer.take_over():
        raise SystemExit("Another sequencer is at work.")
    moments = [AuditEvent.objects.get(leaf__leaf_index=leaf).occurred_at for leaf in (BEFORE, EVENTS + BEFORE)]
    scopes: dict[str, dict[str, Any]] = {"whole": {}, "span": {"since": moments[0], "until": moments[1]}}
    paths = {}
    for name, scope in scopes.items():
        info = write_bundle(directory / f"{name}.zip", receipt=True, **scope)
        facts = Scope(**scope).facts()
        event = record_export(
            manifest=info.manifest, events=info.events, size=info.size, scope=facts, actor=service_actor("bench")
        )
        while sequencer.step():
            pass
        paths[name] = add_receipt(info, event).path
    connections.close_all()
    return paths


def seconds(path: Path, vkey: str) -> tuple[float, float]:
    """One run of the bundle's own verifier: by the clock, and of a processor."""
    with zipfile.ZipFile(path) as bundle:
        (path.parent / "verify.py").write_bytes(bundle.read("verify.py"))
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-I", str(path.parent / "verify.py"), str(path), "--key", vkey]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{path.name} does not verify:\n{done.stdout[-2000:]}{done.stderr}")
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def floor_seconds(path: Path) -> float:
    from audit.merkle import Frontier, leaf_hash

    begun, frontier = time.perf_counter(), Frontier()
    with zipfile.ZipFile(path) as bundle, bundle.open("events.jsonl") as lines:
        for line in lines:
            record = line[line.index(b'"record":') + 9 : -2]
            json.loads(record)
            frontier.append(leaf_hash(record))
    return time.perf_counter() - begun


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        signer = read_key_file(Path(env["LASTGOOD_LOG_KEY_FILE"]))
        events = EVENTS + EVENTS // 10
        build(env["OWNER_DATABASE_URL"], events, signer=signer, drawn=Rollbacks(events, signer.name))
        os.environ.update(env)
        import django

        django.setup()
        paths = exported(Path(name), signer)
        taken = {kind: seconds(path, signer.vkey) for kind, path in paths.items()}
        peers = {kind: round(clock, 2) for kind, (clock, _) in taken.items()}
        peers |= {f"{kind}_processor_seconds": round(used, 2) for kind, (_, used) in taken.items()}
        peers |= {f"{kind}_mebibytes": round(path.stat().st_size / 2**20, 1) for kind, path in paths.items()}
        floor = floor_seconds(paths["whole"])
    worst = max(clock for clock, _ in taken.values())
    met = report(
        "audit_offline_verify_seconds", worst, "s", MOST_SECONDS, at_least=False, on=on, floor=floor, peers=peers
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
