"""Whom the tests tell: a mail server and a program that takes webhooks, both by real sockets."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.handlers import Message as Reading

from tests.mail import mail_server
from tests.ports import free_port


class Letters(Reading):
    """Keeps what it is handed; refuses for good what goes to `nobody@`."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Message] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("nobody@"):
            return f"550 5.1.1 <{address}> is not known here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def handle_message(self, message: Message) -> None:
        self.taken.append(message)


@pytest.fixture
def letters(settings: Any) -> Iterator[Letters]:
    taker = Letters()
    with mail_server(taker, settings, public_url="https://status.example.org"):
        yield taker


@dataclass
class Called:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]


@dataclass
class Receiver:
    """`status` answers what comes next; `waits` holds answers back until it is set."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    taken: list[Called] = field(default_factory=list)
    hold: threading.Event | None = None


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A program at `receiver.url`. What is called below /slow waits for `receiver.hold`."""
    known = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if known.hold is not None and self.path.startswith("/slow"):
                known.hold.wait(30)
            known.taken.append(Called(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(known.status)
            for name, value in known.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.LASTGOOD_TELLING_NETWORKS = ["127.0.0.0/8"]
    known.url = f"http://127.0.0.1:{server.server_port}"
    yield known
    if known.hold is not None:
        known.hold.set()
    server.shutdown()
    server.server_close()
