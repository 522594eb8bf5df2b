"""A small server that speaks Prometheus' HTTP API over values that the test sets, and serves a page of figures."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from tests.ports import free_port


class Server:
    """`series` are labels and a function of the moment (seconds since 1970) that gives a value or None; `page` is the
    text of /metrics; `asked` are the ranges that were asked for. `wanted` is the Authorization that it insists on."""

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], object]] = []
        self.page = ""
        self.broken = ""
        self.wanted = ""
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(503 if outer.broken else 200, outer.page.encode())

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                asked = {name: values[0] for name, values in parse_qs(sent).items()}
                outer.asked.append(asked)
                if outer.wanted and self.headers.get("Authorization") != outer.wanted:
                    self._answer(401, b"Unauthorized")
                elif outer.broken:
                    said = {"status": "error", "errorType": "bad_data", "error": outer.broken}
                    self._answer(400, json.dumps(said).encode())
                else:
                    self._answer(200, json.dumps(outer.matrix(asked)).encode())

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def matrix(self, asked: dict[str, str]) -> dict:
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        moments = [start + i * step for i in range(int((end - start) / step + 1e-6) + 1)]
        result = []
        for labels, value in self.series:
            values = [[at, str(found)] for at in moments if (found := value(at)) is not None]
            if values:
                result.append({"metric": {"__name__": "m"} | labels, "values": values})
        return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def serving() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
