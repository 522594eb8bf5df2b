"""Runbooks of the endpoints in production, as files: `manage.py runbooks write`, `manage.py runbooks verify`."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from incidents.practice.checking import PROOF, check_folder, proven


class Command(BaseCommand):
    help = (
        "Writes the runbooks of the endpoints in production, or checks them against the log's key, without a database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("write", help="write those that have changed, or are not signed yet")
        check = verbs.add_parser("verify", help="exit 0 where all are as the log has them, 1 where one is not")
        check.add_argument("--key", required=True, help="the log's key, as it was given out")
        check.add_argument("--folder", default=settings.LASTGOOD_RUNBOOKS, help="where they are")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(
            self._verify(Path(options["folder"]), options["key"]) if options["verb"] == "verify" else self._write()
        )

    def _verify(self, folder: Path, key: str) -> int:
        found = list(check_folder(folder, key))
        for name, wrong in found:
            self.stdout.write(f"{name}: {wrong or f'as the log has it{_told(folder / name, key)}'}")
        if not found:
            self.stdout.write(f"There is no runbook in {folder}.")
        return 1 if not found or any(wrong for _, wrong in found) else 0

    def _write(self) -> None:
        from incidents.practice import exported
        from incidents.practice.models import Runbook
        from registry.models import Endpoint

        for endpoint in Endpoint.objects.filter(deployments__until=None).distinct():
            exported.refresh(endpoint.pk)
        for runbook in Runbook.objects.select_related("endpoint").order_by("endpoint__slug"):
            state = "written" if runbook.written_at else "waits for the log to sign it"
            self.stdout.write(f"{runbook.endpoint.slug}.md {runbook.sha256[:12]} {state}")


def _told(file: Path, key: str) -> str:
    """The number and the age of a runbook, since an older one of the same endpoint is proven as well."""
    if file.suffix != ".md":
        return ""
    made = proven(file.with_suffix(PROOF).read_text(), key)
    return f", number {made.number}, made {made.at}"
