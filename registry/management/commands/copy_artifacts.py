"""``manage.py copy_artifacts FROM TO``: all artifacts of one store into another, only what is missing there."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from registry import store
from registry.store_copy import copy_all


class Command(BaseCommand):
    help = (
        "Copy artifacts between stores: file:///directory or s3://bucket/prefix (keys in LASTGOOD_ARTIFACTS_*); "
        "'here' is the store in use. Called again, it goes on where it was stopped."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", metavar="FROM")
        parser.add_argument("target", metavar="TO")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            urls = (options["source"], options["target"])
            source, target = (store.place() if url == "here" else store.place_at(url) for url in urls)
            if source.address == target.address:
                raise CommandError("FROM and TO are the same store.")
            done = copy_all(source, target, store.root(), self.stdout.write)
        except (store.StoreAddressRefused, OSError) as error:
            raise CommandError(str(error)) from error
        for sha256, why in done.left.items():
            self.stderr.write(f"LEFT  {sha256}: {why}")
        self.stdout.write(
            f"{done.files} files of {done.bytes} bytes copied to {target.address}; {done.there} were there already."
        )
        if done.left:
            raise CommandError(f"{len(done.left)} files could not be copied; they are named above.")
