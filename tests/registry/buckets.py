"""A bucket of moto's S3 server on a real socket, and a proxy before it that cuts answers short."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import boto3
from moto.server import ThreadedMotoServer

from tests.ports import free_port

KEYS = {"aws_access_key_id": "AKIDLASTGOOD", "aws_secret_access_key": "a-secret-of-the-bucket"}
BUCKET = "artifacts"


@contextmanager
def s3_server() -> Iterator[str]:
    """Its URL."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def client_of(url: str) -> Any:
    """Another maker's client, to look with and to damage with."""
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)


def use(settings: Any, url: str, prefix: str) -> None:
    """Keep artifacts in the bucket below the prefix."""
    settings.LASTGOOD_ARTIFACTS_URL = f"s3://{BUCKET}/{prefix}"
    settings.LASTGOOD_ARTIFACTS_ENDPOINT = url
    settings.LASTGOOD_ARTIFACTS_REGION = "us-east-1"
    settings.LASTGOOD_ARTIFACTS_KEY_ID = KEYS["aws_access_key_id"]
    settings.LASTGOOD_ARTIFACTS_SECRET = KEYS["aws_secret_access_key"]


class Cutter:
    """Passes requests on, and cuts each answer to a GET of an object after `most` bytes, `times` times. `ranges` are
    the ranges that were asked for, in order."""

    def __init__(self, upstream: str, most: int, times: int) -> None:
        self.most, self.times, self.ranges = most, times, []
        cutter, target = self, urlsplit(upstream)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection = HTTPConnection(target.hostname or "", target.port)
                connection.request(self.command, self.path, body, dict(self.headers))
                found = connection.getresponse()
                data = found.read()
                connection.close()
                self.send_response(found.status)
                for name, value in found.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                length = found.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                if self.command == "GET" and "list-type" not in self.path:
                    cutter.ranges.append(self.headers.get("Range", ""))
                    if cutter.times > 0:
                        cutter.times -= 1
                        data = data[: cutter.most]
                        self.close_connection = True
                if self.command != "HEAD":
                    self.wfile.write(data)
                if self.close_connection:
                    self.wfile.flush()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Cutter":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Holder:
    """Passes bytes on as they come, and holds a connection once it carries the words, until `let_go` or its end."""

    def __init__(self, upstream: str, words: str) -> None:
        self.held, self.let_go = threading.Event(), threading.Event()
        self.words, self.target = words.encode(), urlsplit(upstream)
        self.server = socket.create_server(("127.0.0.1", free_port()))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection((self.target.hostname, self.target.port)) as far:
            threading.Thread(target=self._copy, args=(far, near, b""), daemon=True).start()
            self._copy(near, far, self.words)

    def _copy(self, source: socket.socket, target: socket.socket, words: bytes) -> None:
        seen = b""
        with suppress(OSError):
            while data := source.recv(2**16):
                seen = seen[-len(self.words) :] + data
                if words and words in seen and not self.let_go.is_set():
                    self.held.set()
                    self.let_go.wait(60)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> "Holder":
        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = self.server.accept()
                    threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go.set()
        self.server.close()
