"""``manage.py adopt URL``: read a running engine, and register what is there. Nothing is changed on the engine."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.actions import service_actor
from registry.actions import RegistryError
from registry.adopting.actions import adopt
from registry.adopting.capture import NotCaptured, read_rows
from registry.adopting.looking import look
from registry.adopting.words import lines
from registry.models import Environment
from registry.serving.allow import AddressRefused
from registry.serving.base import ServingError
from registry.serving.foreign import ENGINES

TOKEN = "LASTGOOD_ADOPT_TOKEN"  # noqa: S105  the name of a variable


class Command(BaseCommand):
    help = "Read the models of a running engine, capture golden tests from its answers, and register what was found."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="where the engine answers, such as http://10.0.0.5:8000")
        parser.add_argument("--engine", choices=ENGINES, default="", help="asked of the address where it is not given")
        parser.add_argument("--name", default="", help="what the host is called here")
        parser.add_argument("--team", default="adopted", help="the team of models that are new")
        parser.add_argument("--environment", choices=Environment.values, default=Environment.STAGING)
        parser.add_argument(
            "--option", action="append", default=[], metavar="NAME=VALUE", help="of the engine's driver"
        )
        parser.add_argument("--rows", type=Path, help='JSON with rows to ask: {"model": {"input": [values]}}')
        parser.add_argument("--token-file", type=Path, help=f"the control token; else from {TOKEN}")
        parser.add_argument("--dry-run", action="store_true", help="say what was found, and register nothing")

    def handle(self, *args: Any, **given: Any) -> None:
        options = dict(option.partition("=")[::2] for option in given["option"])
        try:
            token = given["token_file"].read_text().strip() if given["token_file"] else os.environ.get(TOKEN, "")
            rows = read_rows(given["rows"].read_bytes()) if given["rows"] else None
            seen = look(url=given["url"], token=token, engine=given["engine"], options=options, rows=rows)
            for line in lines(seen):
                self.stdout.write(line)
            if given["dry_run"]:
                return
            done = adopt(
                seen,
                name=given["name"] or f"adopted-{seen.engine}",
                team=given["team"],
                environment=given["environment"],
                token=token,
                options=options,
                user=None,
                actor=service_actor("manage"),
            )
        except (AddressRefused, ServingError, RegistryError, NotCaptured, OSError) as error:
            raise CommandError(str(error)) from error
        for sentence in done.made:
            self.stdout.write(f"registered: {sentence}")
        for sentence in done.left:
            self.stdout.write(f"not registered: {sentence}")
