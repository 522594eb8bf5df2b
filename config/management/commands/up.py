import os
import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.embedded.broker import BrokerError
from config.embedded.postgres import PostgresError
from config.embedded.stack import Stack, StackError
from config.embedded.supervision import SupervisionError


class Command(BaseCommand):
    help = "Starts Lastgood with everything it needs, and stops it all on Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--database-only", action="store_true", help="nothing but the database, brought up to date, for a restore"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from django.conf import settings

        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._interrupt(ended))
        stack = Stack(Path(settings.LASTGOOD_VAR), port=settings.LASTGOOD_PORT, given=os.environ, say=self._say)
        is_new = stack.is_new
        try:
            stack.start(database_only=options["database_only"])
        except (StackError, PostgresError, BrokerError, SupervisionError) as error:
            raise CommandError(f"{error} Logs: {stack.var / 'log'}") from None
        except KeyboardInterrupt:
            self._say("stopped")
            return
        if options["database_only"]:
            self._print("The database is ready for: .venv/bin/python manage.py restore FILE. Ctrl-C stops it.")
        else:
            self._greet(stack, is_new)
        try:
            self._watch(stack, ended)
        finally:
            self._say("stopping")
            stack.stop()

    def _interrupt(self, ended: threading.Event) -> None:
        if ended.is_set():
            return
        ended.set()
        raise KeyboardInterrupt

    def _watch(self, stack: Stack, ended: threading.Event) -> None:
        try:
            while stack.supervisor is not None and stack.supervisor.alive:
                ended.wait(0.5)
        except KeyboardInterrupt:
            return
        raise CommandError(f"The supervisor ended; everything is stopped. Look into {stack.var / 'log'}.")

    def _greet(self, stack: Stack, is_new: bool) -> None:
        self._print(self.style.SUCCESS(f"Lastgood answers at {stack.url}"))
        if is_new:
            self._print("The first administrator is made by: .venv/bin/python manage.py createadmin")
        self._print(f"Logs: {stack.var / 'log'}. Ctrl-C stops everything.")

    def _say(self, line: str) -> None:
        self._print(f"{line} …")

    def _print(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
