"""Running an owner's test suite for a gate, on a queue of its own. An attempt whose worker died is followed by one."""

import datetime
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from incidents.rollback.gating.junit import Report, ReportRefused, read_report
from incidents.rollback.gating.models import ASKED, Asking, AskingState, GateKind
from incidents.rollback.gating.processes import Ended, changed_files, run_command
from incidents.rollback.gating.waking import wake
from incidents.rollback.models import CheckAnswer, Run

WORKER = service_actor("suites")
MOST_ATTEMPTS = 2
LEASE = datetime.timedelta(seconds=15)
MIB = 2**20
PASS, FAIL, INCONCLUSIVE = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Result:
    """What an attempt came to: the answer, in words, and what was read of the report."""

    answer: CheckAnswer
    observed: str
    report: Report | None = None
    ended: Ended | None = None


class Lease:
    """One worker's right to run a suite's asking, renewed while `holds` is asked."""

    def __init__(self, asking_id: Any) -> None:
        self.asking_id, self.holder = asking_id, secrets.token_hex(12)
        self._renewed = time.monotonic()

    def taken(self) -> bool:
        """Take what waits, or what a dead worker left, while an attempt is left."""
        free = Q(state=AskingState.WAITING) | Q(state=AskingState.RUNNING, lease_until__lte=Now())
        return bool(
            Asking.objects.filter(
                free, pk=self.asking_id, definition__kind=GateKind.SUITE, attempts__lt=MOST_ATTEMPTS
            ).update(
                state=AskingState.RUNNING,
                holder=self.holder,
                lease_until=Now() + LEASE,
                attempts=F("attempts") + 1,
                observed="it runs",
            )
        )

    def holds(self) -> bool:
        """Whether the asking is still this worker's and its run still moves; asks the database now and then."""
        if time.monotonic() - self._renewed < LEASE.total_seconds() / 5:
            return True
        self._renewed = time.monotonic()
        wanted = self.mine().filter(ASKED)
        return bool(Asking.objects.filter(pk__in=wanted.values("pk")).update(lease_until=Now() + LEASE))

    def mine(self) -> Any:
        return Asking.objects.filter(pk=self.asking_id, holder=self.holder, state=AskingState.RUNNING)


def run_suite(asking_id: Any) -> bool:
    """Run the suite of an asking, if nobody else does. True when this call ended the asking."""
    lease = Lease(asking_id)
    if not lease.taken():
        return _give_up(asking_id)
    related = ("run__plan__to_version", "run__endpoint__model", "definition__model", "wave")
    asking = Asking.objects.select_related(*related).get(pk=asking_id)
    return _end(asking, lease.mine(), _attempt(asking, lease))


def _attempt(asking: Asking, lease: Lease) -> Result:
    definition, body = asking.definition, asking.definition.body
    if definition.retired_at is not None:
        return Result(INCONCLUSIVE, f"the gate was retired: {definition.retired_reason}")
    if changed := changed_files(body["files"]):
        return Result(INCONCLUSIVE, f"{changed[0]} is not as it was registered, so nothing was run")
    ended = run_command(
        body["argv"],
        mark=f"{asking.pk}:{lease.holder}",
        told=_told(asking),
        seconds=body["seconds"],
        memory_bytes=body["memory_mib"] * MIB,
        goes_on=lease.holds,
    )
    return judged(ended)


def _told(asking: Asking) -> dict[str, str]:
    """The suite's whole environment: what it tests, and nothing of ours."""
    version, endpoint = asking.run.plan.to_version, asking.run.endpoint
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "LASTGOOD_ENDPOINT": endpoint.slug,
        "LASTGOOD_ENVIRONMENT": endpoint.environment,
        "LASTGOOD_MODEL": endpoint.model.slug,
        "LASTGOOD_VERSION": str(version.number),
        "LASTGOOD_DIGEST": version.digest,
        "LASTGOOD_RUN": str(asking.run_id),
        "LASTGOOD_HOSTS": json.dumps({host["name"]: host["address"] for host in asking.hosts}),
    }


def judged(ended: Ended) -> Result:
    """Pass when it ended with status 0 and its report has passed tests and none that failed; fail when a test did, or
    it ended with another status after a report. Without a report, and killed, by whomever, it says nothing of
    the version."""
    if ended.why:
        return Result(INCONCLUSIVE, ended.why, ended=ended)
    if ended.status < 0:
        return Result(INCONCLUSIVE, f"signal {-ended.status} ended it, which was not ours", ended=ended)
    if ended.report is None:
        return Result(INCONCLUSIVE, f"it ended with status {ended.status} and wrote no report", ended=ended)
    try:
        report = read_report(ended.report)
    except ReportRefused as error:
        return Result(INCONCLUSIVE, str(error), ended=ended)
    if report.failed or report.errors:
        return Result(FAIL, report.sentence, report, ended)
    if ended.status:
        return Result(FAIL, f"{report.sentence}, and it ended with status {ended.status}", report, ended)
    if not report.passed:
        return Result(INCONCLUSIVE, f"no test passed: {report.sentence}", report, ended)
    return Result(PASS, report.sentence, report, ended)


@transaction.atomic
def _end(asking: Asking, mine: Any, result: Result) -> bool:
    """Store the result, on record, if the asking is still of the one who says it."""
    ended, data = result.ended, result.ended.report if result.ended else None
    digest = hashlib.sha256(data).hexdigest() if data else ""
    counts = result.report.counts if result.report else {}
    if ended is not None:
        counts = counts | {"seconds": round(ended.seconds, 3), "status": ended.status}
    # The run's row first, as whoever moves the run locks them.
    Run.objects.select_for_update(of=("self",)).get(pk=asking.run_id)
    stored = mine.update(
        state=AskingState.ENDED,
        answer=result.answer,
        observed=result.observed[:300],
        counts=counts,
        report=data or b"",
        report_sha256=digest,
        output=ended.output if ended else "",
        holder="",
        lease_until=None,
        answered_at=Now(),
        ended_at=Now(),
    )
    if not stored:
        return False
    run = asking.run
    record(
        action="gate.suite",
        target=Target("run", str(run.pk)),
        actor=WORKER,
        incident=run.plan.incident_ref,
        outcome="success" if result.answer == PASS else "failed",
        data={
            "run": str(run.pk),
            "plan_hash": run.plan.plan_hash,
            **asking.facts,
            "gate": asking.definition.name,
            "digest": asking.definition.digest,
            "attempt": asking.attempts,
            "answer": str(result.answer),
            "report": digest,
            **{name: counts[name] for name in ("passed", "failed", "errors", "skipped") if name in counts},
        },
    )
    wake(run)
    return True


def _give_up(asking_id: Any) -> bool:
    """End an asking whose last attempt was lost with its worker."""
    lost = Asking.objects.filter(
        pk=asking_id,
        definition__kind=GateKind.SUITE,
        state=AskingState.RUNNING,
        lease_until__lte=Now(),
        attempts__gte=MOST_ATTEMPTS,
    )
    asking = lost.select_related("run__plan", "definition", "wave").first()
    if asking is None:
        return False
    return _end(asking, lost, Result(INCONCLUSIVE, f"its worker was lost in each of {MOST_ATTEMPTS} attempts"))
