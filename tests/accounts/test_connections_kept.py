"""Connections to peers are kept from call to call, each peer's apart."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from accounts import outgoing
from tests.ports import free_port

LOOPBACK = ["127.0.0.0/8"]


class Peer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.callers.add(self.client_address[1])  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def listen() -> Iterator[Callable[[], ThreadingHTTPServer]]:
    """A function that starts a server on 127.0.0.1; `callers` are the ports that it was called from."""
    servers = []

    def start() -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", free_port()), Peer)
        server.callers = set()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server: ThreadingHTTPServer) -> bytes:
    return outgoing.fetch(f"http://127.0.0.1:{server.server_port}/", networks=LOOPBACK)


def test_two_calls_to_one_peer_go_over_one_connection(listen: Callable[[], ThreadingHTTPServer]) -> None:
    first, second = listen(), listen()

    assert [ask(first), ask(second), ask(first), ask(second)] == [b"ok"] * 4

    assert [len(server.callers) for server in (first, second)] == [1, 1]


def test_idle_connections_are_let_go_where_there_are_many_peers(
    listen: Callable[[], ThreadingHTTPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MOST_ORIGINS", 2)
    outgoing.client.cache_clear()
    servers = [listen() for _ in range(3)]

    for server in [*servers, servers[0]]:
        assert ask(server) == b"ok"

    assert len(servers[0].callers) == 2  # the third peer took the place of the first two
    outgoing.client.cache_clear()
