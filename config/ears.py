"""A worker that lives but hears nothing ends itself, and its supervisor starts it anew.

After its connection to the broker was lost and made again, a worker may go on without consuming (celery/celery issues
8030, 8091, 9054). From outside it looks well. So a thread asks the broker, on a connection of its own, whether messages
wait in the worker's queues while it has hands free and receives none.
"""

import logging
import os
import threading
import time
from typing import Any

import redis
from celery.signals import task_postrun, task_prerun, task_received, worker_ready
from django.conf import settings

logger = logging.getLogger(__name__)

DEAF_STATUS = 70
LOOKS = 6


class Ears:
    """What one worker has heard. `hands` is how many tasks it can do at once; seconds are of the monotonic clock."""

    def __init__(self, queues: list[str], hands: int, deaf_after: float) -> None:
        self.queues = queues
        self.hands = hands
        self.deaf_after = deaf_after
        self.heard_at = time.monotonic()
        self.waiting_since: float | None = None
        self.busy = 0
        self._lock = threading.Lock()

    def received(self, **_: Any) -> None:
        self.heard_at = time.monotonic()

    def began(self, **_: Any) -> None:
        with self._lock:
            self.busy += 1

    def ended(self, **_: Any) -> None:
        with self._lock:
            self.busy -= 1
        self.heard_at = time.monotonic()

    def look(self, client: redis.Redis) -> bool:
        """True when messages have waited for too long before ears that hear none. A dead broker says nothing."""
        try:
            waiting = any(client.llen(queue) for queue in self.queues)
        except redis.RedisError:
            waiting = False
        now = time.monotonic()
        if not waiting or self.busy >= self.hands:
            self.waiting_since = None
            return False
        if self.waiting_since is None:
            self.waiting_since = now
        return now - max(self.waiting_since, self.heard_at) > self.deaf_after

    def watch(self) -> None:
        """Look until deaf, then end the process. What it had in hand is found by the clock, as after any death."""
        client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1)
        while not self.look(client):
            time.sleep(self.deaf_after / LOOKS)
        logger.critical("worker.deaf queues=%s seconds=%.0f", ",".join(self.queues), self.deaf_after)
        os._exit(DEAF_STATUS)


@worker_ready.connect
def listen(sender: Any = None, **_: Any) -> None:
    """Begin to watch over the worker that has just become ready."""
    ears = Ears(list(sender.app.amqp.queues.consume_from), sender.pool.num_processes, settings.LASTGOOD_DEAF_SECONDS)
    task_received.connect(ears.received, weak=False)
    task_prerun.connect(ears.began, weak=False)
    task_postrun.connect(ears.ended, weak=False)
    threading.Thread(target=ears.watch, name="ears", daemon=True).start()
