"""A proxy before a host that can hold a call, or lie about it. A test's tool; the product knows nothing of it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx

Rewrite = Callable[[str, str, bytes], bytes]


class Proxy:
    """Forwards to `target`. `hold_before` and `hold_after` hold calls whose path ends so, until `let_go` is set. What a
    caller no longer waits for is dropped, or with `drop_late` False forwarded all the same: a call that comes late.
    While `down`, nobody is answered, as if the host were away; `cut_before` and `cut_after` let the host go away in the
    middle of such a call, before or after it has done it. Of a call whose path ends with `halve` the host gets the head
    and the first half of the body, and nothing more."""

    def __init__(self, target: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.hold_before = ""
        self.hold_after = ""
        self.swallow = ""
        self.halve = ""
        self.cut_before = ""
        self.cut_after = ""
        self.down = False
        self.drop_late = True
        self.rewrite_request: Rewrite | None = None
        self.rewrite_answer: Rewrite | None = None
        self.held = threading.Event()
        self.let_go = threading.Event()
        self.calls: list[str] = []
        self.target = target
        client = httpx.Client(base_url=target, timeout=60)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                proxy.calls.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if proxy._holds(proxy.cut_before, self.path, wait=False):
                    proxy.cut_before, proxy.down = "", True
                if proxy.down:
                    self.close_connection = True
                    return
                if proxy.rewrite_request is not None:
                    body = proxy.rewrite_request(self.command, self.path, body)
                if proxy._holds(proxy.halve, self.path, wait=False) and self.command == "PUT":
                    proxy._send_half(self.path, dict(self.headers), body)
                    self.close_connection = True
                    return
                held = proxy._holds(proxy.hold_before, self.path)
                if held and proxy.drop_late and not proxy._caller_waits(self.connection):
                    self.close_connection = True
                    return
                if proxy._holds(proxy.swallow, self.path, wait=False):
                    self._answer(200, b"{}", "application/json")
                    return
                kept = {
                    k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")
                }
                try:
                    given = client.request(self.command, proxy._path(self.path), content=body, headers=kept)
                except httpx.TransportError:  # the host is down or has died: so does this connection
                    self.close_connection = True
                    return
                if proxy._holds(proxy.cut_after, self.path, wait=False):
                    proxy.cut_after, proxy.down = "", True
                    self.close_connection = True
                    return
                content = given.content
                if proxy.rewrite_answer is not None:
                    content = proxy.rewrite_answer(self.command, self.path, content)
                if proxy._holds(proxy.hold_after, self.path) and not proxy._caller_waits(self.connection):
                    self.close_connection = True
                    return
                self._answer(given.status_code, content, given.headers.get("Content-Type", "application/json"))

            def _answer(self, status: int, content: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_HEAD = do

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.redirect: dict[str, str] = {}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _path(self, path: str) -> str:
        for before, after in self.redirect.items():
            path = path.replace(before, after)
        return path

    def _holds(self, suffix: str, path: str, *, wait: bool = True) -> bool:
        if not suffix or not path.endswith(suffix):
            return False
        if wait:
            self.held.set()
            self.let_go.wait(60)
        return True

    def _send_half(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """The first half of a call, on a connection that stays open until `let_go`."""
        to = urlsplit(self.target)
        lines = [f"PUT {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        with socket.create_connection((to.hostname, to.port)) as line:
            line.sendall("\r\n".join([*lines, "", ""]).encode() + body[: len(body) // 2])
            self.held.set()
            self.let_go.wait(60)

    @staticmethod
    def _caller_waits(connection: Any) -> bool:
        """False when whoever called has died meanwhile: a dead caller's request goes no further."""
        connection.setblocking(False)
        try:
            return connection.recv(1, 2) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            connection.setblocking(True)

    def close(self) -> None:
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()


def change_json(content: bytes, change: Callable[[Any], None]) -> bytes:
    """The JSON with a change made in place."""
    value = json.loads(content)
    change(value)
    return json.dumps(value).encode()
