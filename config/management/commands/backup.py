"""``manage.py backup FILE``: database, artifacts, predictions and the log's public side in one file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.backup import write_backup


class Command(BaseCommand):
    help = "Write a backup of everything but the secret keys, which are kept apart, to a new file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path)
        parser.add_argument(
            "--wait", type=float, default=10, metavar="SECONDS", help="how long to wait for the log to be signed (10)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            info = write_backup(
                options["path"], wait_seconds=options["wait"], say=lambda line: self.stdout.write(f"{line} …")
            )
        except OSError as error:
            raise CommandError(str(error)) from error
        for name in info.missing:
            self.stdout.write(f"MISSING  {name} is not in the store, or damaged; the backup is without it.")
        self.stdout.write(
            f"{info.path}: {info.rows} rows of {info.tables} tables, {info.files} files, log of {info.size} leaves, "
            f"root {info.root}, SHA-256 {info.sha256}."
        )
        if info.waiting:
            self.stdout.write(f"{info.waiting} events were not signed yet; they are in the backup, unsigned.")
        self.stdout.write(
            "The seal key, the log's signing key and SECRET_KEY are not in it. Keep copies of them apart."
        )
