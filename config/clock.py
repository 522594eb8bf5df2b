"""The clock: it finds the rows whose time has come and sends their tasks. Whatever message was lost, it sends again."""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec

import redis
from django.apps import apps
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connections

from audit.clock import database_now
from audit.dispatch import send
from audit.due import Due
from config.health import beat

logger = logging.getLogger(__name__)

# A row that stays due is sent again after 1, 2, 4, 8, 16 s, then every 30: a worker that is down, or busy with one long
# task after the other, must not find a long queue of the same.
FIRST_REPEAT_SECONDS = 1.0
LAST_REPEAT_SECONDS = 30.0
WORTH_SAYING_SECONDS = 2.0


@dataclass(frozen=True)
class Sent:
    """When a row's task was sent, and for how long it is not sent again; seconds of the monotonic clock."""

    at: float
    pause: float


class Clock:
    """Looks at every app's SOURCES. It keeps nothing but when it last sent what, so it may die at any time."""

    def __init__(self, sources: list[Due] | None = None) -> None:
        self.sources = find_sources() if sources is None else sources
        self.sent: dict[tuple[str, object], Sent] = {}
        self.trouble = ""
        self.off = False

    def run(self, ended: threading.Event, seconds: float) -> None:
        """Look every `seconds` until `ended` is set."""
        logger.info("clock.started sources=%d every=%.2fs", len(self.sources), seconds)
        while not ended.wait(seconds):
            self.look()

    def look(self) -> int:
        """Look once and return how many tasks were sent. A dead database or broker is said once, in one line."""
        try:
            now = database_now()
            self._compare(now)
            due = {(source, row): None for source in self.sources for row in self._rows(source, now)}
            count = sum(self._send(source, row) for source, row in due)
            beat()
        except (DatabaseError, redis.RedisError, OSError) as error:
            self._say(f"{type(error).__name__}: {(str(error) or 'no reason given').splitlines()[0]}")
            connections.close_all()
            return 0
        self._say("")
        # What is due no longer is forgotten, so that it is sent at once when it is due again.
        still_due = {(source.task, row) for source, row in due}
        self.sent = {key: sent for key, sent in self.sent.items() if key in still_due}
        return count

    def _rows(self, source: Due, now: datetime) -> list[object]:
        try:
            return list(source.ids(now))
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            # One app's mistake must not stop the wake-ups of the others.
            logger.exception("clock.source.failed task=%s", source.task)
            return []

    def _send(self, source: Due, row: object) -> bool:
        key, moment = (source.task, row), time.monotonic()
        before = self.sent.get(key)
        if before is not None and moment - before.at < before.pause:
            return False
        if not send(source.task, [row], source.queue):
            raise redis.ConnectionError("the broker takes no task")
        pause = min(before.pause * 2, LAST_REPEAT_SECONDS) if before else FIRST_REPEAT_SECONDS
        self.sent[key] = Sent(moment, pause)
        return True

    def _compare(self, now: datetime) -> None:
        """Say it, when it changes, where this machine's clock is not the database's. Deadlines go by the database."""
        ahead = (datetime.now(UTC) - now).total_seconds()
        off = abs(ahead) > WORTH_SAYING_SECONDS
        if off and not self.off:
            logger.warning("clock.offset this machine's clock is %.1f s ahead of the database's", ahead)
        elif self.off and not off:
            logger.info("clock.offset.gone")
        self.off = off

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("clock.blind %s", trouble)
        elif self.trouble and not trouble:
            logger.info("clock.sees.again")
        self.trouble = trouble


def find_sources() -> list[Due]:
    """The SOURCES of every app's `due.py`."""
    sources: list[Due] = []
    for app in apps.get_app_configs():
        name = f"{app.name}.due"
        if app.name != "audit" and find_spec(name):
            sources.extend(getattr(import_module(name), "SOURCES", []))
    return sources
