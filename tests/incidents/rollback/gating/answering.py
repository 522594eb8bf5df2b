"""A small HTTP server whose answers a test decides, and gates registered without asking anybody."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from audit.actions import service_actor
from incidents.rollback.gating.actions import enter_gate
from incidents.rollback.gating.acts import PLAN_KINDS, facts_of
from incidents.rollback.gating.models import GateDefinition
from registry.models import Model


@dataclass
class Answering:
    """`answer(method, path, body) -> (status, JSON value)`; `asked` holds what came."""

    url: str
    asked: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    answer: Callable[[str, str, dict[str, list[str]]], tuple[int, Any]] = lambda method, path, body: (200, {})


@contextmanager
def answering() -> Iterator[Answering]:
    """A server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
            served.asked.append((self.command, self.path, body))
            status, value = served.answer(self.command, self.path, body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _reply

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Answering(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gate(model: Model, name: str, kind: str, body: dict[str, Any], **terms: Any) -> GateDefinition:
    """A registered gate, as it is once those have agreed whom its policy names."""
    wish: dict[str, Any] = {"question": f"Does {name} hold?", "plan_kinds": PLAN_KINDS, "environment": "any"} | terms
    facts = facts_of(model=model, name=name, kind=kind, body=body, **wish)
    return enter_gate(model=model, facts=facts, actor=service_actor("test"))
