"""A mail server for a test: whatever the product sends goes to it over a real socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller

from tests.ports import free_port


@contextmanager
def mail_server(taker: Any, settings: Any, *, public_url: str) -> Iterator[None]:
    """Have Django's mail go to `taker`, a handler of aiosmtpd, and its links begin with `public_url`."""
    port = free_port()
    server = Controller(taker, hostname="127.0.0.1", port=port)
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", port, False
    settings.LASTGOOD_PUBLIC_URL = public_url
    try:
        yield
    finally:
        server.stop()
