"""The bundled host's driver against real hosts, closed ports, and servers that stall, cut, redirect, trickle or lie."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from registry.serving import base, bundled, driver_for
from registry.serving.base import (
    HostAddress,
    HostUnreachable,
    OutcomeUnknown,
    Refused,
    ServingError,
    StaleFence,
    VersionState,
)
from tests.host.artifacts import digest_of, make_model, row
from tests.host.fixtures import TOKEN, HostProcess
from tests.ports import free_port

Factory = Callable[..., HostProcess]
DRIVER = driver_for("bundled")
DIGEST = "a" * 64


def test_a_version_is_staged_loaded_asked_switched_to_and_unloaded(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process("gpu-1")
    first, second = make_model(tmp_path / "a", 1), make_model(tmp_path / "b", 2)

    # when
    for version, (manifest, blobs) in (("1", first), ("2", second)):
        DRIVER.stage(host.address, "toy", version, manifest, blobs)
        DRIVER.load(host.address, "toy", version)
    DRIVER.switch(host.address, "toy", "1", digest_of(first[0]), 4)
    default = DRIVER.infer(host.address, "toy", row())
    versioned = DRIVER.infer(host.address, "toy", row(), version="2", request_id="golden-1")
    DRIVER.switch(host.address, "toy", "2", digest_of(second[0]), 5)
    DRIVER.unload(host.address, "toy", "1")
    seen = DRIVER.observe(host.address)

    # then
    assert (default.version, default.digest) == ("1", digest_of(first[0]))
    assert (versioned.version, versioned.digest) == ("2", digest_of(second[0]))
    assert set(versioned.outputs) == {"label", "score"}
    assert 0 < versioned.latency_ms < 60_000
    assert (seen.host, seen.device) == ("gpu-1", "cpu")
    assert 0 < seen.memory_free < seen.memory_total
    model = seen.models["toy"]
    assert (model.default_version, model.default_digest, model.fence) == ("2", digest_of(second[0]), 5)
    assert model.versions["1"] == VersionState("1", digest_of(first[0]), "staged", None, 0, 0, 0, None)
    assert model.versions["2"].loaded_digest == digest_of(second[0])
    assert model.versions["2"].requests == 0, "the driver's own questions are probes"
    metrics = DRIVER.metrics(host.address)
    assert metrics['lastgood_host_fence{model="toy"}'] == 5.0
    assert metrics['lastgood_host_probes_total{model="toy",version="2"}'] == 1.0


def test_every_call_may_be_repeated(host_process: Factory, tmp_path: Path) -> None:
    host = host_process()
    manifest, blobs = make_model(tmp_path / "a", 1)

    for _ in range(2):
        DRIVER.stage(host.address, "toy", "1", manifest, blobs)
        DRIVER.load(host.address, "toy", "1")
        DRIVER.switch(host.address, "toy", "1", digest_of(manifest), 1)

    assert DRIVER.observe(host.address).models["toy"].default_digest == digest_of(manifest)


def test_staging_repairs_a_blob_that_was_damaged_on_the_host_s_disk(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    made = make_model(tmp_path / "a", 1)
    DRIVER.stage(host.address, "toy", "1", *made)
    weights = host.blob(made, "weights")
    weights.write_bytes(b"\0" * weights.stat().st_size)

    # when
    DRIVER.stage(host.address, "toy", "1", *made)
    DRIVER.load(host.address, "toy", "1")

    # then
    assert DRIVER.observe(host.address).models["toy"].versions["1"].loaded_digest == digest_of(made[0])


def test_refusals_carry_their_type_and_change_nothing(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    first = host.serve("1", make_model(tmp_path / "a", 1), 8)

    # when
    with pytest.raises(StaleFence, match="The fence 7 is below 8"):
        DRIVER.switch(host.address, "toy", "1", first, 7)
    with pytest.raises(Refused) as mismatch:
        DRIVER.switch(host.address, "toy", "1", DIGEST, 9)
    with pytest.raises(Refused) as unknown:
        DRIVER.load(host.address, "toy", "3")
    with pytest.raises(Refused) as default:
        DRIVER.unload(host.address, "toy", "1")
    with pytest.raises(Refused) as stranger:
        DRIVER.observe(HostAddress(host.url, "guess"))

    # then
    found = [(error.value.status, error.value.type) for error in (mismatch, unknown, default, stranger)]
    assert found == [
        (409, "digest-mismatch"),
        (404, "unknown-version"),
        (409, "is-default"),
        (401, "unauthorized"),
    ]
    assert not isinstance(mismatch.value, StaleFence)
    assert DRIVER.observe(host.address).models["toy"].default_digest == first


def test_a_host_that_has_restarted_is_observed_through_the_old_connections(
    host_process: Factory, tmp_path: Path
) -> None:
    # given a connection in the pool
    host = host_process()
    digest = host.serve("1", make_model(tmp_path / "a", 1), 1)
    boot = DRIVER.observe(host.address).boot_id

    # when
    host.stop(signal.SIGKILL)
    with pytest.raises(HostUnreachable):
        DRIVER.observe(host.address)
    host.start()
    seen = DRIVER.observe(host.address)

    # then
    assert seen.boot_id != boot
    assert seen.models["toy"].default_digest == digest


def test_a_closed_port_is_unreachable_for_every_call(tmp_path: Path) -> None:
    address = HostAddress(f"http://127.0.0.1:{free_port()}", TOKEN)
    manifest, blobs = make_model(tmp_path / "a", 1)
    calls: list[Callable[[], Any]] = [
        lambda: DRIVER.observe(address),
        lambda: DRIVER.stage(address, "toy", "1", manifest, blobs),
        lambda: DRIVER.load(address, "toy", "1"),
        lambda: DRIVER.infer(address, "toy", row()),
        lambda: DRIVER.switch(address, "toy", "1", DIGEST, 1),
        lambda: DRIVER.unload(address, "toy", "1"),
        lambda: DRIVER.metrics(address),
    ]

    for call in calls:
        with pytest.raises(HostUnreachable):
            call()


@contextmanager
def tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[HostAddress, list[int]]]:
    """A server that reads a request's head and then does `serve`; yields its address and the calls so far."""
    listener = socket.create_server(("127.0.0.1", free_port()))
    calls: list[int] = []

    def handle(connection: socket.socket) -> None:
        with connection:
            if connection.recv(65536):
                calls.append(1)
                serve(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield HostAddress(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN), calls
    finally:
        listener.close()


def http_answer(status: str, body: bytes, *headers: str) -> Callable[[socket.socket], None]:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return lambda connection: connection.sendall(f"{head}\r\n\r\n".encode() + body)


def test_a_host_that_never_answers_leaves_the_outcome_unknown_and_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given
    monkeypatch.setattr(bundled, "SWITCH_SECONDS", 0.3)
    released = threading.Event()

    with tcp_server(lambda connection: released.wait(90) and None) as (address, calls):
        # when
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            DRIVER.switch(address, "toy", "1", DIGEST, 1)

        # then
        assert time.monotonic() - started < 30
        assert len(calls) == 1
        released.set()


def test_a_connection_cut_after_sending_leaves_the_outcome_unknown_and_is_not_tried_again() -> None:
    with tcp_server(lambda connection: None) as (address, calls):
        with pytest.raises(OutcomeUnknown):
            DRIVER.switch(address, "toy", "1", DIGEST, 1)

        assert len(calls) == 1


def test_an_answer_cut_in_the_middle_leaves_the_outcome_unknown() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"def'

    with tcp_server(lambda c: c.sendall(answer)) as (address, _), pytest.raises(OutcomeUnknown):
        DRIVER.switch(address, "toy", "1", DIGEST, 1)


def test_an_answer_that_trickles_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "OBSERVE_SECONDS", 0.5)
    stop = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not stop.wait(0.05):
            try:
                connection.sendall(b" ")
            except OSError:
                return

    with tcp_server(trickle) as (address, _):
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="too slowly"):
            DRIVER.observe(address)
        assert time.monotonic() - started < 30
        stop.set()


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        ("302 Found", b"", ["Location: http://127.0.0.1:1/elsewhere"], Refused),
        ("502 Bad Gateway", b"<html>", [], OutcomeUnknown),
        ("500 Internal Server Error", b"Internal Server Error", [], OutcomeUnknown),
        ("503 Service Unavailable", b'{"type":"not-ready","detail":"Wait."}', [], Refused),
        ("409 Conflict", b'{"type":"stale-fence","detail":"Old."}', [], StaleFence),
        ("404 Not Found", b"not here", [], Refused),
    ],
)
def test_statuses_map_to_what_they_say_about_execution(
    status: str, body: bytes, headers: list[str], error: type[ServingError]
) -> None:
    with tcp_server(http_answer(status, body, *headers)) as (address, calls):
        with pytest.raises(ServingError) as raised:
            DRIVER.switch(address, "toy", "1", DIGEST, 1)

        assert type(raised.value) is error
        assert len(calls) == 1


@pytest.mark.parametrize("body", [b"OK", b"[]", b'{"host": "x"}', b'{"models": []}', b"null"])
def test_a_200_that_makes_no_sense_is_an_error(body: bytes) -> None:
    with tcp_server(http_answer("200 OK", body)) as (address, _), pytest.raises(ServingError) as raised:
        DRIVER.observe(address)

    assert type(raised.value) is ServingError


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.serving.http.MAX_ANSWER_BYTES", 1000)

    answer = http_answer("200 OK", json.dumps(["x" * 2000]).encode())

    with tcp_server(answer) as (address, _), pytest.raises(OutcomeUnknown, match="longer than 1000 bytes"):
        DRIVER.observe(address)


def test_an_address_does_not_show_its_token() -> None:
    assert TOKEN not in repr(HostAddress("http://127.0.0.1:1", TOKEN))


def test_an_unknown_engine_has_no_driver() -> None:
    with pytest.raises(LookupError, match="no driver for the engine 'abacus'"):
        driver_for("abacus")
    assert DRIVER.capabilities == base.Capabilities(**{field.name: True for field in fields(base.Capabilities)})
