"""Files on their way to a host: what came is kept through broken connections and kill -9, and checked when whole."""

import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.serving.bundled import BundledDriver
from tests.host.fixtures import TOKEN, HostProcess, shared_host
from tests.waiting import until

MIB = 2**20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with shared_host(tmp_path_factory.mktemp("uploads")) as shared:
        yield shared


@pytest.fixture
def file(tmp_path: Path) -> tuple[str, Path, bytes]:
    data = os.urandom(3 * MIB)
    (tmp_path / "weights").write_bytes(data)
    return hashlib.sha256(data).hexdigest(), tmp_path / "weights", data


def standing(host: HostProcess, sha256: str) -> dict[str, object]:
    """How much of it is here, and whether that is all."""
    found = host.http.get(f"/lastgood/v1/blobs/{sha256}/upload").json()
    return {"whole": found["whole"], "offset": found["offset"]}


def send_and_break(host: HostProcess, sha256: str, data: bytes, promised: int) -> socket.socket:
    """Begin an upload of so many bytes, send some of them, and leave the connection as it is."""
    line = socket.create_connection(("127.0.0.1", host.port))
    head = f"PUT /lastgood/v1/blobs/{sha256} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
    line.sendall(f"{head}Content-Length: {promised}\r\n\r\n".encode() + data)
    until(lambda: standing(host, sha256)["offset"] == len(data))
    return line


def test_the_rest_of_a_file_is_taken_after_a_broken_connection(
    host: HostProcess, file: tuple[str, Path, bytes]
) -> None:
    sha256, _, data = file
    send_and_break(host, sha256, data[:MIB], len(data)).close()

    assert standing(host, sha256) == {"whole": False, "offset": MIB}
    assert host.http.put(f"/lastgood/v1/blobs/{sha256}/from/{MIB}", content=data[MIB:]).status_code == 201
    assert standing(host, sha256) == {"whole": True, "offset": len(data)}
    assert (host.state / "blobs" / sha256).read_bytes() == data


def test_the_driver_sends_only_what_has_not_come_before_the_host_was_killed(
    host: HostProcess, file: tuple[str, Path, bytes]
) -> None:
    sha256, path, data = file
    send_and_break(host, sha256, data[: 2 * MIB], len(data))
    host.stop(signal.SIGKILL)
    host.start()
    # What came before is not sent again: the sender has nothing but zeros in its place.
    path.write_bytes(bytes(2 * MIB) + data[2 * MIB :])

    BundledDriver()._put_blobs(host.address, [sha256], {sha256: path})

    assert (host.state / "blobs" / sha256).read_bytes() == data


def test_what_came_damaged_is_thrown_away_and_sent_from_the_start(
    host: HostProcess, file: tuple[str, Path, bytes]
) -> None:
    sha256, path, data = file
    send_and_break(host, sha256, bytes(MIB), len(data)).close()

    BundledDriver()._put_blobs(host.address, [sha256], {sha256: path})

    assert (host.state / "blobs" / sha256).read_bytes() == data


def test_a_file_that_is_another_is_refused_and_nothing_of_it_is_kept(
    host: HostProcess, file: tuple[str, Path, bytes]
) -> None:
    sha256, _, data = file

    answer = host.http.put(f"/lastgood/v1/blobs/{sha256}", content=data[:-1] + b"?")

    assert (answer.status_code, answer.json()["type"]) == (422, "digest-mismatch")
    assert standing(host, sha256) == {"whole": False, "offset": 0}


def test_a_sender_ahead_of_what_is_here_is_told_where_to_go_on(
    host: HostProcess, file: tuple[str, Path, bytes]
) -> None:
    sha256, _, data = file

    answer = host.http.put(f"/lastgood/v1/blobs/{sha256}/from/5", content=data[5:])

    assert (answer.status_code, answer.json()["type"], answer.json()["offset"]) == (409, "wrong-offset", 0)


def test_a_later_sender_relieves_one_that_hangs(host: HostProcess, file: tuple[str, Path, bytes]) -> None:
    sha256, _, data = file
    hanging = send_and_break(host, sha256, data[:MIB], len(data))

    assert host.http.put(f"/lastgood/v1/blobs/{sha256}/from/{MIB}", content=data[MIB:]).status_code == 201
    hanging.sendall(b"something else")

    answer = b""
    while b"superseded" not in answer:
        more = hanging.recv(65536)
        assert more, answer
        answer += more
    assert (host.state / "blobs" / sha256).read_bytes() == data
    hanging.close()


def test_several_senders_of_one_file_all_see_it_arrive(host: HostProcess, tmp_path: Path) -> None:
    data = os.urandom(32 * MIB)
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "weights").write_bytes(data)
    together = threading.Barrier(4)

    def send(_: int) -> None:
        together.wait(10)
        BundledDriver()._put_blobs(host.address, [sha256], {sha256: tmp_path / "weights"})

    with ThreadPoolExecutor(4) as senders:
        list(senders.map(send, range(4)))

    assert (host.state / "blobs" / sha256).read_bytes() == data


def test_the_driver_does_not_relieve_a_sender_that_is_at_work(host: HostProcess, file: tuple[str, Path, bytes]) -> None:
    sha256, path, data = file
    line = send_and_break(host, sha256, data[:MIB], len(data))

    def slowly() -> bytes:
        for start in range(MIB, len(data), MIB // 8):
            time.sleep(0.2)
            line.sendall(data[start : start + MIB // 8])
        return line.recv(65536)

    with ThreadPoolExecutor(1) as other:
        answer = other.submit(slowly)
        path.write_bytes(bytes(len(data)))  # what the driver would send in its place

        BundledDriver()._put_blobs(host.address, [sha256], {sha256: path})

        assert b" 201 " in answer.result(10)
    line.close()
    assert (host.state / "blobs" / sha256).read_bytes() == data
