"""Addresses that Lastgood calls: names that answer twice differently, redirects, odd spellings, forged certificates."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from accounts.outgoing import PUBLIC, AddressRefused, FetchFailed, allowed_addresses, client, fetch
from audit.models import AuditEvent
from registry.models import Host
from registry.serving.allow import check_address
from registry.serving.base import HostAddress, HostUnreachable
from registry.serving.http import call
from tests.api.programs import anybody, problem_of
from tests.ports import free_port

GPU_NETWORK = ["10.20.0.0/16"]
LOOPBACK = ("127.0.0.0/8",)
Answers = Callable[[str], list[str]]


class Listener(BaseHTTPRequestHandler):
    """Writes down who was asked for, and redirects where the path says so."""

    def do_GET(self) -> None:
        self.server.seen.append((self.headers["Host"], self.path))  # type: ignore[attr-defined]
        self.send_response(302 if self.path == "/redirect" else 200)
        if self.path == "/redirect":
            self.send_header("Location", self.server.elsewhere)  # type: ignore[attr-defined]
        body = b"x" * 5000 if self.path == "/long" else b"{}"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def listen() -> Iterator[Callable[..., ThreadingHTTPServer]]:
    """A function that starts a server on 127.0.0.1, with TLS where a context is given; `seen` is what it was asked."""
    servers = []

    def start(context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", free_port()), Listener)
        server.seen = []  # type: ignore[attr-defined]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What a hostile name server answers: each list of addresses once, the last for ever. Counts are what is left."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host not in answers:
            return real(host, port, *more, **named)
        queue = answers[host]
        given = queue.pop(0) if len(queue) > 1 else queue[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in given]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client.cache_clear()
    return answers


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://[::1]",
        "http://127.0.0.1",
        "http://0x7f.1",
        "http://0177.0.0.1",
        "http://2130706433",
        "http://[::ffff:127.0.0.1]",
        "http://[::ffff:a9fe:a9fe]",
        "http://[64:ff9b::7f00:1]",
        "http://[2002:7f00:1::]",
        "http://0.0.0.0",
        "http://localhost",
        "http://[fe80::1%25lo]",
    ],
)
def test_abuse_32_no_spelling_of_an_inner_address_gets_past_the_allow_list(url: str) -> None:
    for networks in (GPU_NETWORK, [PUBLIC]):
        with pytest.raises(AddressRefused):
            check_address(url, networks)
        with pytest.raises(AddressRefused):
            fetch(url, networks=networks, seconds=30)


def test_abuse_32_a_name_that_stands_for_an_inner_address_is_refused(names: dict[str, list[list[str]]]) -> None:
    names["10.20.0.1.nip.io"] = [["127.0.0.1"]]
    with pytest.raises(AddressRefused, match=r"is 127\.0\.0\.1, which is in none of the allowed networks"):
        check_address("http://10.20.0.1.nip.io", GPU_NETWORK)


def test_abuse_32_the_internet_is_allowed_where_it_is_meant(names: dict[str, list[list[str]]]) -> None:
    names["calendar.example"] = [["93.184.215.14"]]
    assert allowed_addresses("calendar.example", 443, [PUBLIC]) == ["93.184.215.14"]
    with pytest.raises(AddressRefused):
        allowed_addresses("calendar.example", 443, GPU_NETWORK)


def test_abuse_33_a_name_that_changes_its_answer_after_the_check_is_not_connected_to(
    names: dict[str, list[list[str]]], listen: Callable[..., ThreadingHTTPServer]
) -> None:
    server = listen()
    names["gpu.test"] = [["10.20.0.1"], ["127.0.0.1"]]
    url = f"http://gpu.test:{server.server_port}"

    check_address(url, GPU_NETWORK)
    with pytest.raises(HostUnreachable, match=r"is 127\.0\.0\.1, which is in none of the allowed networks"):
        call(HostAddress(url, "secret", tuple(GPU_NETWORK)), "GET", "/", seconds=30)

    assert server.seen == []


def test_abuse_33_one_inner_address_among_several_answers_is_enough_to_refuse(
    names: dict[str, list[list[str]]],
) -> None:
    names["gpu.test"] = [["10.20.0.1", "169.254.169.254"]]
    with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
        check_address("http://gpu.test", GPU_NETWORK)
    with pytest.raises(HostUnreachable, match=r"169\.254\.169\.254"):
        call(HostAddress("http://gpu.test", "", tuple(GPU_NETWORK)), "GET", "/", seconds=30)


def test_abuse_33_the_name_is_resolved_once_and_that_answer_is_connected_to(
    names: dict[str, list[list[str]]], listen: Callable[..., ThreadingHTTPServer]
) -> None:
    server = listen()
    names["gpu.test"] = [["127.0.0.1"], ["10.20.0.1"]]

    call(HostAddress(f"http://gpu.test:{server.server_port}", "", LOOPBACK), "GET", "/v2", seconds=30)

    assert server.seen == [(f"gpu.test:{server.server_port}", "/v2")]
    assert names["gpu.test"] == [["10.20.0.1"]]


def test_abuse_34_a_redirect_to_an_inner_address_is_not_followed(listen: Callable[..., ThreadingHTTPServer]) -> None:
    server, inner = listen(), listen()
    server.elsewhere = f"http://127.0.0.1:{inner.server_port}/latest/meta-data/"

    with pytest.raises(FetchFailed, match="The answer was 302"):
        fetch(f"http://127.0.0.1:{server.server_port}/redirect", networks=LOOPBACK)

    assert len(server.seen) == 1
    assert inner.seen == []


@pytest.mark.parametrize("part", ["headers", "body"])
def test_abuse_41_an_answer_that_drips_is_cut_off_when_the_call_was_to_be_over(part: str) -> None:
    # given a server that sends a byte now and then, each well before a read would give up
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", free_port())) as server:

        def drip() -> None:
            taken, _ = server.accept()
            with taken, contextlib.suppress(OSError):
                taken.recv(65536)
                taken.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 999\r\n\r\n" if part == "body" else b"X-A: "))
                for _ in range(160):
                    if not ended.wait(0.05):
                        taken.sendall(b"a")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        # when it is asked for an answer within half a second
        began = time.monotonic()
        with pytest.raises(FetchFailed, match="too slowly"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/", networks=LOOPBACK, seconds=0.5)
        took = time.monotonic() - began
        ended.set()
        thread.join(5)
    # then the call was over by then, long before the server stopped
    assert took < 5


def test_abuse_32_a_refusal_names_the_setting_that_lists_the_networks(names: dict[str, list[list[str]]]) -> None:
    names["calendar.example"] = [["10.9.9.9"]]
    with pytest.raises(AddressRefused, match="LASTGOOD_CALENDAR_NETWORKS"):
        fetch("http://calendar.example", networks=GPU_NETWORK, setting="LASTGOOD_CALENDAR_NETWORKS")
    with pytest.raises(AddressRefused, match="LASTGOOD_HOST_NETWORKS"):
        check_address("http://calendar.example", GPU_NETWORK)


def test_abuse_41_an_answer_longer_than_was_bargained_for_is_cut_off(
    listen: Callable[..., ThreadingHTTPServer],
) -> None:
    server = listen()
    with pytest.raises(FetchFailed, match="longer than 4000 bytes"):
        fetch(f"http://127.0.0.1:{server.server_port}/long", networks=LOOPBACK, limit=4000)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://10.20.0.1/_GET",
        "ftp://10.20.0.1",
        "dict://10.20.0.1:11211",
        "unix:/var/run/docker.sock",
        "//10.20.0.1",
        "10.20.0.1",
        "http://10.20.0.1@evil.example",
        "http://user:word@10.20.0.1",
        "http://10.20.0.1\\@evil.example",
        "http://10.20.0.1\r\nX-Injected: 1",
        "http:///10.20.0.1",
        "",
    ],
)
def test_abuse_35_other_schemes_and_hidden_users_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_address(url, [*GPU_NETWORK, PUBLIC])
    with pytest.raises(AddressRefused):
        fetch(url, networks=[*GPU_NETWORK, PUBLIC])


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["http://192.0.2.7:9000", "http://169.254.169.254", "http://10.20.0.1:1/v2"])
def test_abuse_36_a_host_outside_of_the_allow_list_is_not_registered(settings: Any, address: str) -> None:
    settings.LASTGOOD_HOST_NETWORKS = GPU_NETWORK
    program, leaves = anybody(), AuditEvent.objects.count
    before = leaves()

    answer = program.ask(
        "POST", "/api/v1/hosts/", {"name": "h1", "engine": "bundled", "address": address, "control_token": "t"}
    )

    problem_of(answer, 422, "address-refused")
    assert not Host.objects.exists()
    assert leaves() == before


def certificate(folder: Path, name: str, *, ends: datetime) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for the name as a file, and a server's context that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=30))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return chain, context


@pytest.mark.parametrize(
    ("name", "days", "trusted", "sentence"),
    [
        ("gpu.test", 10, True, ""),
        ("gpu.test", 10, False, "self-signed certificate"),
        ("gpu.test", -1, True, "certificate has expired"),
        ("other.test", 10, True, "Hostname mismatch"),
    ],
)
def test_abuse_37_a_host_whose_certificate_does_not_prove_its_name_gets_no_token(
    names: dict[str, list[list[str]]],
    listen: Callable[..., ThreadingHTTPServer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    days: int,
    trusted: bool,
    sentence: str,
) -> None:
    chain, context = certificate(tmp_path, name, ends=datetime.now(UTC) + timedelta(days=days))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    server = listen(context)
    names["gpu.test"] = [["127.0.0.1"]]
    address = HostAddress(f"https://gpu.test:{server.server_port}", "secret", LOOPBACK)

    if not sentence:
        assert call(address, "GET", "/", seconds=30).json() == {}
    else:
        with pytest.raises(HostUnreachable, match=sentence):
            call(address, "GET", "/", seconds=30)
    client.cache_clear()

    assert len(server.seen) == (0 if sentence else 1)


def test_abuse_37_nothing_falls_back_from_tls_to_plain_http(
    names: dict[str, list[list[str]]], listen: Callable[..., ThreadingHTTPServer]
) -> None:
    server = listen()
    names["gpu.test"] = [["127.0.0.1"]]
    with pytest.raises(HostUnreachable):
        call(HostAddress(f"https://gpu.test:{server.server_port}", "secret", LOOPBACK), "GET", "/", seconds=30)
    assert server.seen == []
