"""The product's worker and clock, and single tasks, as processes that die or stop at a named point.

    python -m tests.faults.program worker NAME QUEUES | clock | nursery

A nursery has everything loaded and makes a child for each line it reads, {"task", "args", "point", "visited"}: the
child is a worker that does that one task. To {"task": "wait"} it answers how its children ended, in order (-9: killed).
The environment names LEDGER and, for worker and clock, POINT; with DEAF a worker consumes nothing;
with CLOCK_OFFSET the program's clock is so many seconds away from the machine's. A worker says `heard TASK ID` of
each message.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import time_machine
from celery.signals import task_prerun, worker_ready

from tests.faults.points import Points, read_point

PERSONS = ("compensate", "stop", "resume", "undo")


def main(arguments: list[str]) -> None:
    django.setup()
    set_clock()
    verb, *rest = arguments
    if verb == "nursery":
        nursery()
        return
    Points(read_point(os.environ.get("POINT", "")), os.environ["LEDGER"]).install()
    if verb == "clock":
        from django.core.management import call_command

        call_command("clock")
    else:
        worker(*rest)


def set_clock() -> None:
    """Set this process's clock as many seconds away from the machine's as CLOCK_OFFSET says."""
    if os.environ.get("CLOCK_OFFSET"):
        there = datetime.now(UTC) + timedelta(seconds=float(os.environ["CLOCK_OFFSET"]))
        time_machine.travel(there, tick=True).start()


def worker(name: str, queues: str, concurrency: str = "8") -> None:
    from config.celery import app

    if os.environ.get("DEAF"):
        worker_ready.connect(lambda sender, **_: sender.task_consumer.cancel(), weak=False)
    task_prerun.connect(_heard, weak=False)
    pool = ["--pool", "threads", "--concurrency", concurrency]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    app.worker_main(["worker", *pool, "--queues", queues, "--hostname", f"{name}@test", *quiet])


def _heard(task: Any, args: list[object], **_: Any) -> None:
    sys.stderr.write(f"heard {task.name} {' '.join(map(str, args))}\n")


def nursery() -> None:
    from config.celery import app

    app.loader.import_default_modules()
    _import_rooms()
    children: list[int] = []
    for line in sys.stdin:
        order = json.loads(line)
        if order["task"] == "wait":
            ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
            sys.stdout.write(json.dumps(ends) + "\n")
            sys.stdout.flush()
            children = []
            continue
        pid = os.fork()
        if not pid:
            _run(app, order)
        children.append(pid)


def _import_rooms() -> None:
    """What tasks import when they run: once, before there are children."""
    from incidents.rollback import advance, converge, decided, preflight, run, undo, watch

    assert all((advance, converge, decided, preflight, run, undo, watch))


def _run(app: Any, order: dict[str, Any]) -> None:
    status = 1
    try:
        Points(read_point(order["point"]), os.environ["LEDGER"], order.get("visited", "")).install()
        if order["task"] in PERSONS:
            by_person(order["task"], *order["args"])
        elif order["task"] == "rehearse":
            rehearse(*order["args"])
        else:
            work(app.tasks[order["task"]].run, *order["args"])
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def work(task: Callable[..., None], row: str) -> None:
    """Run the task, and an advance again and again, as the clock would wake it, until its run needs nobody."""
    from incidents.rollback.lease import MOVING
    from incidents.rollback.models import Run

    task(row)
    while task.__name__ == "advance" and Run.objects.filter(pk=row, state__in=MOVING).exists():
        time.sleep(0.1)
        task(row)


def by_person(verb: str, run_id: str, username: str) -> None:
    """What the web process does when a person turns a run back, stops it, takes it up again or has it undone."""
    from accounts.actions import actor_for
    from accounts.models import User
    from incidents.rollback import run, undo

    person = User.objects.get(username=username)
    act = undo.undo if verb == "undo" else getattr(run, verb)
    act(run_id=run_id, user=person, reason="Somebody clicked.", actor=actor_for(user=person))


def rehearse(version: str, endpoint: str, username: str) -> None:
    """What the web process does when a person has a composed version rehearsed."""
    from accounts.actions import actor_for
    from accounts.models import User
    from incidents.rollback.rehearsal import ask_rehearsal
    from registry.models import Endpoint, Version

    person, composed = User.objects.get(username=username), Version.objects.select_related("model").get(pk=version)
    on = Endpoint.objects.select_related("model").get(pk=endpoint)
    ask_rehearsal(version=composed, endpoint=on, user=person, actor=actor_for(user=person))


if __name__ == "__main__":
    main(sys.argv[1:])
