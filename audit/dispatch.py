"""Sending a task by name, so that a lower floor can wake an upper one without knowing it."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
T = TypeVar("T")
GATHER_SECONDS = 0.05
MOST = 50
_gathering = threading.Lock()
_gathered: dict[tuple[str, str], list[object]] = {}
"""What came for a task and its queue since its last message, which is younger than GATHER_SECONDS."""


def send(task: str, args: Sequence[object], queue: str) -> bool:
    """Send the task now. False, and one line in the log, when the broker does not take it: the row is committed, and
    the clock finds it."""
    try:
        current_app.send_task(task, args=[_plain(arg) for arg in args], queue=queue, ignore_result=True)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("task.send.failed task=%s queue=%s error=%s", task, queue, error)
        return False
    return True


def send_on_commit(task: str, args: Sequence[object], queue: str, using: str = "default") -> None:
    """Send the task when the current transaction commits (now, where there is none). A dead broker never raises."""
    transaction.on_commit(partial(send, task, list(args), queue), using=using)


def gather_on_commit(task: str, ids: Sequence[object], queue: str) -> None:
    """Send a task that takes any number of ids when the current transaction commits: the first at once, those that this
    process brings within GATHER_SECONDS of it together, at most MOST in a message. A process that dies in between
    loses the word of them, not the rows: the clock must find these."""
    transaction.on_commit(partial(_gather, task, list(ids), queue))


def _gather(task: str, ids: list[object], queue: str) -> None:
    with _gathering:
        waiting = _gathered.get((task, queue))
        if waiting is not None:
            waiting.extend(ids)
            return
        _begin(task, queue)
    send(task, ids, queue)


def _begin(task: str, queue: str) -> None:
    _gathered[task, queue] = []
    threading.Timer(GATHER_SECONDS, _send_gathered, [task, queue]).start()


def _send_gathered(task: str, queue: str) -> None:
    with _gathering:
        args = _gathered.pop((task, queue))
        if args:
            _begin(task, queue)
    for first in range(0, len(args), MOST):
        send(task, args[first : first + MOST], queue)


def each_of(act: Callable[[T], object], args: Iterable[T]) -> None:
    """Act on each of a message's ids, whatever becomes of the others. Raises what the first that failed raised."""
    failed = []
    for arg in args:
        try:
            act(arg)
        except Exception as error:
            failed.append(error)
            logger.warning("task.part.failed id=%s error=%s: %s", arg, type(error).__name__, error)
    if failed:
        raise failed[0]


def _plain(arg: object) -> int | str:
    return arg if isinstance(arg, int) else str(arg)
