"""A server that hosts fetch files from, with the manners that a test asks of it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.ports import free_port


class FileServer:
    """Gives out `data` from where it is asked. `hold_at`: after so many bytes of the file it waits for `let_go`;
    `cut_at`: after so many it hangs up, once. Addresses in `refused` get 403. `statuses` are answered before anything
    is given, one a request, each with the headers of `more`. `asked` are the Range and Authorization headers of the
    requests, in order, but for those whose path holds a key of `also`: they get its bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.hold_at = self.cut_at = len(data)
        self.statuses: list[int] = []
        self.refused: set[str] = set()
        self.also: dict[str, bytes] = {}
        self.more: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.let_go = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                for name, other in server.also.items():
                    if name in self.path:
                        self._begin(200, len(other), {})
                        self.wfile.write(other)
                        return
                server.asked.append((self.headers.get("Range", ""), self.headers.get("Authorization", "")))
                if self.path in server.refused or server.statuses:
                    self._begin(403 if self.path in server.refused else server.statuses.pop(0), 0, server.more)
                    return
                start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
                said = {"Content-Range": f"bytes {start}-{len(server.data) - 1}/{len(server.data)}"} if start else {}
                self._begin(206 if start else 200, len(server.data) - start, said)
                end = server._end_of(start)
                self.wfile.write(server.data[start:end])
                if end < len(server.data) and end == server.hold_at:
                    self.wfile.flush()
                    server.let_go.wait(60)
                    self.wfile.write(server.data[end : server.cut_at])
                if min(end, server.cut_at) < len(server.data):
                    self.close_connection = server.cut_at < len(server.data)
                    server.cut_at = len(server.data)

            def _begin(self, status: int, length: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(length), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/file"

    def _end_of(self, start: int) -> int:
        """Up to where an answer that begins at `start` goes before it waits or hangs up."""
        return min(end for end in (self.hold_at, self.cut_at, len(self.data)) if end > start or end == len(self.data))

    def __enter__(self) -> FileServer:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()
