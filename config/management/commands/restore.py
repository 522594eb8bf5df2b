"""``manage.py restore FILE``: put a backup into an empty instance."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.restore import RestoreRefused, restore_backup

SIZES = re.compile(r"(\d{1,15})-to-(\d{1,15})")


def sizes(text: str) -> tuple[int, int]:
    """Two numbers of leaves, written 1200-to-1000."""
    found = SIZES.fullmatch(text)
    if found is None:
        raise ArgumentTypeError("write it like 1200-to-1000: leaves that were signed, leaves in the backup")
    return int(found[1]), int(found[2])


class Command(BaseCommand):
    help = "Put a backup into an empty, migrated instance, then verify its log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path)
        parser.add_argument(
            "--since",
            type=Path,
            action="append",
            default=[],
            metavar="NOTE",
            help="a signed checkpoint that was kept elsewhere, which the restored log must extend; repeatable",
        )
        parser.add_argument(
            "--shorten-log",
            type=sizes,
            metavar="SIGNED-to-HELD",
            help="lose these signed leaves all the same, by name, such as 1200-to-1000; on record",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            notes = [path.read_text() for path in options["since"]]
            done = restore_backup(
                options["path"],
                checkpoints=notes,
                shorten=options["shorten_log"],
                say=lambda line: self.stdout.write(f"{line} …"),
            )
        except (OSError, RestoreRefused) as error:
            raise CommandError(str(error)) from error
        for name in done.missing:
            self.stdout.write(f"MISSING  {name} was not in the backup.")
        self.stdout.write(
            f"Restored {done.rows} rows of {done.tables} tables and {done.files} files; log of {done.size} leaves, "
            f"root {done.root}."
        )
        if done.kept_memory:
            self.stdout.write(f"What the sequencer remembered is kept in {done.kept_memory}.")
        for sentence in done.report.problems:
            self.stdout.write(f"BAD  {sentence}")
        if not done.report.ok:
            raise CommandError("The restored log is not whole.")
        self.stdout.write("The log is whole. Erase again whoever was erased since the backup was made.")
