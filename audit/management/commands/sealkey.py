"""``manage.py sealkey``: make the key under which personal texts are sealed, or change it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.actions import service_actor
from audit.sealing import SealBroken, SealKeyError, create_key_file, read_key_file


class Command(BaseCommand):
    help = "Make the seal key (LASTGOOD_SEAL_KEY_FILE) where there is none, and print its id; --rotate changes it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rotate", action="store_true", help="wrap every person's key anew under a new seal key")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.LASTGOOD_SEAL_KEY_FILE)
        try:
            if options["rotate"]:
                self._rotate()
                return
            ring = read_key_file(path) if path.exists() else create_key_file(path)
        except (SealBroken, SealKeyError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(ring.current.hex())

    def _rotate(self) -> None:
        from audit.erasure import rotate_seal_key

        ring, wrapped = rotate_seal_key(actor=service_actor("manage"))
        self.stdout.write(
            f"{ring.current.hex()}: {wrapped} keys of people are wrapped anew. The key before it stays in the file, "
            "for what was being written meanwhile; the next rotation removes it. Save the file, apart from backups."
        )
