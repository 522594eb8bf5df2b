"""Sending a task by name, so that a lower floor can wake an upper one without knowing it."""

import logging
from collections.abc import Sequence
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


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


def _plain(arg: object) -> int | str:
    return arg if isinstance(arg, int) else str(arg)
