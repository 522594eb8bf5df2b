"""How long a warm rollback takes in a drill on staging, and how long Lastgood had said that it would take.

The whole product runs (database, broker, workers, clock, web) with three bundled hosts as processes of their own; the
endpoint is in staging and its waves do not soak. Drills go forth and back, the way back proposed by Lastgood itself.
The first ones are what is foretold from; of those after them `drill_seconds` is the median, from the last approval
until the last host has given its golden outputs, and `drill_prediction_error` how far the prediction that was
kept with each drill was off, as a share of what was measured, at the median. Target: at most 0.2. Beside it stand the
worst of them, and the share of drills that took what lay in the range they were foretold with (`in_range`); with ranges
of four to nine runs, 60 to 80 % are to be expected where nothing else changes.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.report import machine, report
from bench.warm_switch import Bench, hosts
from config.embedded.ports import free_port
from config.embedded.stack import Stack

TAUGHT, MEASURED = 4, 6
ERROR = 0.2
SECONDS = 5.0


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        stack = Stack(folder / "var", port=free_port(), given={"LASTGOOD_OBSERVE_SECONDS": "5"})
        try:
            stack.start()
            os.environ.update(stack.env)
            with hosts(folder) as ports:
                return measure(folder, ports, on)
        finally:
            stack.stop()
            stack.remove_data()


def measure(folder: Path, ports: dict[str, int], on: str) -> int:
    import django

    django.setup()
    from registry.models import Endpoint

    bench = Bench(folder, ports)
    bench.change_to(bench.versions[0])
    Endpoint.objects.update(environment="staging", watch_seconds=0)
    bench.endpoint.refresh_from_db()
    drills: list[Any] = []
    while len(drills) < TAUGHT + MEASURED:
        drills += there_and_back(bench)
    measured = [drill for drill in drills[TAUGHT:] if drill.warm and drill.predicted_seconds is not None]
    took = [drill.checked_seconds for drill in measured]
    errors = sorted(abs(drill.predicted_seconds - drill.checked_seconds) / drill.checked_seconds for drill in measured)
    beside = {
        "predicted": round(statistics.median(drill.predicted_seconds for drill in measured), 4),
        "slowest": round(max(took), 4),
        "drills": len(measured),
    }
    met = report("drill_seconds", statistics.median(took), "s", SECONDS, at_least=False, on=on, peers=beside)
    in_range = [drill.predicted_low <= drill.checked_seconds <= drill.predicted_high for drill in measured]
    beside = {"worst": round(errors[-1], 4), "in_range": round(sum(in_range) / len(in_range), 4)}
    met &= report(
        "drill_prediction_error", statistics.median(errors), "share", ERROR, at_least=False, on=on, peers=beside
    )
    return 0 if met else 1


def there_and_back(bench: Bench) -> list[Any]:
    """One drill to the version that is not served, and the way back that Lastgood proposes."""
    from accounts.actions import actor_for
    from incidents.practice import drills
    from incidents.practice.models import Drill

    user = bench.people["responder"]
    drill = drills.ask_drill(
        endpoint=bench.endpoint, version=bench.versions[1], user=user, actor=actor_for(user=user), min_requests=0
    )
    done = [passed(bench, drill)]
    bench.poll(Drill.objects.filter(back_of=drill).exists, 60, lambda: done[0].reason)
    return [*done, passed(bench, Drill.objects.get(back_of=drill))]


def passed(bench: Bench, drill: Any) -> Any:
    """Approve the drill's plan once its preflight has passed, and wait until the drill is over."""
    from django.utils import timezone

    from accounts.actions import actor_for
    from accounts.approvals.actions import decide
    from accounts.approvals.evidence import show
    from incidents.practice.models import Drill
    from incidents.rollback.models import Plan

    waiting = Plan.objects.filter(pk=drill.plan_id, request__isnull=False)
    bench.poll(waiting.exists, 180, lambda: list(drill.plan.preflights.values_list("question", "answer", "observed")))
    plan, person = waiting.get(), bench.people["commander"]
    decide(
        request_id=plan.request_id,
        user=person,
        decision="approve",
        subject_hash=plan.plan_hash,
        reason="",
        auth_method="password",
        auth_time=timezone.now(),
        evidence=show(plan.request, person)[0],
        actor=actor_for(user=person),
    )
    rows = Drill.objects.filter(pk=drill.pk)
    bench.poll(rows.exclude(state__in=["waiting", "running"]).exists, 120, lambda: list(rows.values("state", "reason")))
    drill = rows.get()
    if drill.state != "passed":
        raise SystemExit(f"A drill did not pass: {drill.reason}")
    return drill


if __name__ == "__main__":
    sys.exit(main())
