import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config.clock import Clock


class Command(BaseCommand):
    help = "Looks every LASTGOOD_CLOCK_SECONDS for rows that are due and sends their tasks. Never ends by itself."

    def handle(self, *args: Any, **options: Any) -> None:
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        Clock().run(ended, settings.LASTGOOD_CLOCK_SECONDS)
