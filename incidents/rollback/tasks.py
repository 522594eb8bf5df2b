"""Celery's entrances: an id in, the verb called, nothing else. Bodies import late: they run in workers only."""

from collections.abc import Callable
from typing import Any

from celery import shared_task

task: Callable[..., Callable[[Callable[..., None]], Any]] = shared_task


@task(name="rollback.preflight")
def preflight(plan_id: str) -> None:
    from incidents.rollback import preflight as rooms

    rooms.run(plan_id)


@task(name="rollback.request_decided")
def request_decided(request_id: str) -> None:
    from incidents.rollback.decided import request_decided as follow

    follow(request_id)


@task(name="rollback.advance")
def advance(run_id: str) -> None:
    from incidents.rollback.advance import advance as move_on

    move_on(run_id)


@task(name="rollback.watch")
def watch(run_id: str) -> None:
    from incidents.rollback.watch import tick

    tick(run_id)


@task(name="rollback.converge")
def converge(placement_id: int) -> None:
    from incidents.rollback.converge import converge as start

    start(placement_id)


@task(name="rollback.drifted")
def drifted(placement_id: int) -> None:
    from incidents.rollback.drifted import settle

    settle(placement_id)


@task(name="rollback.keep_warm")
def keep_warm(endpoint_id: int) -> None:
    from incidents.rollback.prepare import keep_fallback_warm

    keep_fallback_warm(endpoint_id)


@task(name="rollback.let_go")
def let_go(endpoint_id: int, version_id: int) -> None:
    from incidents.rollback.fallback import let_go as unload

    unload(endpoint_id, version_id)


@task(name="rollback.close_undo")
def close_undo(run_id: str) -> None:
    from incidents.rollback.undo import close_window

    close_window(run_id)


@task(name="rollback.expire")
def expire(plan_id: str) -> None:
    from incidents.rollback.decided import expire_plan

    expire_plan(plan_id)


@task(name="rollback.try")
def take_up_trial(trial_id: str) -> None:
    from incidents.rollback.rehearsal import take_up

    take_up(trial_id)


@task(name="rollback.take_out")
def take_out(load_id: int) -> None:
    from incidents.rollback.trials import take_out as unload

    unload(load_id)
