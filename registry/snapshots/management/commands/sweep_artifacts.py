"""``manage.py sweep_artifacts [--dry-run]``: remove what the rule of age and count lets go, or say what would go."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.clock import database_now
from registry.snapshots.needs import needs
from registry.snapshots.retention import going_files, old_snapshots, sweep
from registry.store import ArtifactUnavailable


class Command(BaseCommand):
    help = (
        "Remove old snapshots, and files of models that nothing needs. The clock does it daily where the rule is set."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["dry_run"]:
                self._say()
                return
            snapshots, files, size = sweep()
        except ArtifactUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{snapshots} snapshots and {files} files of {size} bytes were removed.")

    def _say(self) -> None:
        now = database_now()
        found = needs(now)
        snapshots, files = old_snapshots(found, now), list(going_files(found, now))
        for snapshot in snapshots:
            self.stdout.write(f"snapshot  {snapshot.endpoint.slug} of {snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC")
        for going in files:
            self.stdout.write(f"file      {going.sha256}  {going.size} bytes, of {going.what}")
        size = sum(going.size for going in files)
        self.stdout.write(f"{len(snapshots)} snapshots and {len(files)} files of {size} bytes would go.")
        self.stdout.write("Files that only snapshots name which would go are not counted; they go a sweep later.")
