"""Files that a host fetches itself: only from where it may, only what is missing, checked as it comes, bounded."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.serving.base import Source
from registry.serving.bundled import BundledDriver
from tests.host.fixtures import HostProcess, shared_host
from tests.host.sources import FileServer
from tests.host.test_uploads import send_and_break
from tests.ports import free_port
from tests.waiting import until

MIB = 2**20
HERE = {"LASTGOOD_HOST_FETCH_NETWORKS": "127.0.0.0/8"}
DRIVER = BundledDriver()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with shared_host(tmp_path_factory.mktemp("fetching"), HERE) as shared:
        yield shared


@pytest.fixture
def file() -> Iterator[tuple[str, FileServer]]:
    data = os.urandom(3 * MIB)
    with FileServer(data) as server:
        yield hashlib.sha256(data).hexdigest(), server


def standing(host: HostProcess, sha256: str) -> dict[str, Any]:
    return dict(host.http.get(f"/lastgood/v1/blobs/{sha256}/upload").json())


def ask(host: HostProcess, sha256: str, size: int, *urls: str) -> Any:
    wish = {"size": size, "from": [{"url": url} for url in urls]}
    return host.http.post(f"/lastgood/v1/blobs/{sha256}/fetch", json=wish)


def ended(host: HostProcess, sha256: str) -> dict[str, Any]:
    """How the blob stands once the host no longer fetches it."""
    until(lambda: not standing(host, sha256)["fetching"])
    return standing(host, sha256)


def nothing_of(failed: str) -> dict[str, object]:
    return {"whole": False, "offset": 0, "fetching": False, "failed": failed}


def test_a_file_is_fetched_with_the_token_of_its_address(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file

    assert DRIVER.fetch(host.address, sha256, len(server.data), lambda: [Source(server.url, "good-for-it")])

    assert (host.state / "blobs" / sha256).read_bytes() == server.data
    assert server.asked == [("", "Bearer good-for-it")]


def test_what_is_here_is_not_asked_for_again(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file
    send_and_break(host, sha256, server.data[:MIB], len(server.data)).close()

    assert DRIVER.fetch(host.address, sha256, len(server.data), lambda: [Source(server.url)])
    assert DRIVER.fetch(host.address, sha256, len(server.data), lambda: [Source(server.url)])

    assert (host.state / "blobs" / sha256).read_bytes() == server.data
    assert server.asked == [(f"bytes={MIB}-", "")]


def test_a_connection_that_breaks_is_gone_on_with(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file
    server.cut_at = 2 * MIB

    assert ask(host, sha256, len(server.data), server.url).status_code == 202

    assert ended(host, sha256) == {"whole": True, "offset": 3 * MIB, "fetching": False, "failed": ""}
    assert [begun for begun, _ in server.asked] == ["", f"bytes={2 * MIB}-"]
    assert (host.state / "blobs" / sha256).read_bytes() == server.data


def test_a_host_that_was_killed_goes_on_where_it_was(
    host_process: Callable[..., HostProcess], file: tuple[str, FileServer]
) -> None:
    sha256, server = file
    host = host_process("killed", **HERE)
    server.hold_at = 2 * MIB
    ask(host, sha256, len(server.data), server.url)
    until(lambda: standing(host, sha256)["offset"] == 2 * MIB)

    host.stop(signal.SIGKILL)
    host.start()

    assert standing(host, sha256) == {"whole": False, "offset": 2 * MIB, "fetching": False, "failed": ""}
    assert DRIVER.fetch(host.address, sha256, len(server.data), lambda: [Source(server.url)])
    assert (host.state / "blobs" / sha256).read_bytes() == server.data
    assert [begun for begun, _ in server.asked] == ["", f"bytes={2 * MIB}-"]


def test_what_came_damaged_earlier_is_fetched_from_the_start(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file
    send_and_break(host, sha256, bytes(MIB), len(server.data)).close()

    ask(host, sha256, len(server.data), server.url)

    assert ended(host, sha256)["whole"]
    assert [begun for begun, _ in server.asked] == [f"bytes={MIB}-", ""]
    assert (host.state / "blobs" / sha256).read_bytes() == server.data


def test_another_file_is_refused_nothing_of_it_is_kept_and_the_next_source_is_asked(
    host: HostProcess, file: tuple[str, FileServer]
) -> None:
    sha256, server = file
    with FileServer(bytes(reversed(server.data))) as other:
        ask(host, sha256, len(server.data), other.url)
        failed = ended(host, sha256)

        ask(host, sha256, len(server.data), other.url, server.url)
        assert ended(host, sha256)["whole"]

    assert (failed["whole"], failed["offset"]) == (False, 0)
    assert "has another file" in failed["failed"]
    assert (host.state / "blobs" / sha256).read_bytes() == server.data


def test_more_than_the_manifest_says_is_not_taken(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file

    ask(host, sha256, len(server.data) - 1, server.url)

    place = server.url.removesuffix("/file")
    assert ended(host, sha256) == nothing_of(f"{place} has a file of another length than the manifest says.")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://localhost.localdomain.invalid/x", "does not resolve to an address"),
        ("http://10.255.255.1/x", "10.255.255.1 is 10.255.255.1, which is in none of the networks of LASTGOOD_HOST"),
        ("http://[::1]:9/x", "::1 is ::1, which is in none of the networks"),
        ("http://[::ffff:169.254.169.254]/latest", "which is in none of the networks"),
        ("http://0.0.0.0/x", "which is in none of the networks"),
        ("http://2852039166/latest/meta-data", "is 169.254.169.254, which is in none of the networks"),
    ],
)
def test_abuse_32_the_host_asks_nobody_outside_of_its_own_networks(host: HostProcess, url: str, said: str) -> None:
    sha256 = hashlib.sha256(url.encode()).hexdigest()

    ask(host, sha256, 5, url)

    found = ended(host, sha256)
    assert said in found["failed"]
    assert not found["whole"]


def test_abuse_34_a_source_that_leads_elsewhere_is_not_followed(
    host: HostProcess, file: tuple[str, FileServer]
) -> None:
    sha256, server = file
    server.statuses, server.more = [302], {"Location": server.url}

    ask(host, sha256, len(server.data), server.url)

    assert "leads elsewhere (302); redirects are not followed" in ended(host, sha256)["failed"]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"size": 5, "from": []},
        {"size": -1, "from": [{"url": "http://127.0.0.1/"}]},
        {"size": True, "from": [{"url": "http://127.0.0.1/"}]},
        {"size": 5, "from": [{"url": "file:///etc/passwd"}]},
        {"size": 5, "from": [{"url": "http://user:secret@127.0.0.1/"}]},
        {"size": 5, "from": [{"url": "http://127.0.0.1/ x"}]},
        {"size": 5, "from": [{"url": "http://127.0.0.1/", "token": "a\r\nHost: b"}]},
        {"size": 5, "from": [{"url": "http://127.0.0.1:99999/"}]},
        {"size": 5, "from": ["http://127.0.0.1/"]},
    ],
)
def test_a_wish_that_is_none_is_refused(host: HostProcess, wish: dict[str, Any]) -> None:
    answer = host.http.post(f"/lastgood/v1/blobs/{'ab' * 32}/fetch", json=wish)

    assert (answer.status_code, answer.json()["type"]) == (400, "bad-request")
    assert standing(host, "ab" * 32) == nothing_of("")


def test_a_source_that_is_busy_is_asked_again_when_it_says(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file
    server.statuses, server.more = [503] * 7, {"Retry-After": "0"}

    ask(host, sha256, len(server.data), server.url)

    assert ended(host, sha256)["whole"]
    assert len(server.asked) == 8


def test_the_next_source_goes_on_where_one_is_away(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file
    send_and_break(host, sha256, server.data[:MIB], len(server.data)).close()

    ask(host, sha256, len(server.data), f"http://127.0.0.1:{free_port()}/", server.url)

    assert ended(host, sha256)["whole"]
    assert [begun for begun, _ in server.asked] == [f"bytes={MIB}-"]


def test_new_addresses_are_taken_when_those_in_use_are_good_for_nothing_any_more(
    host: HostProcess, file: tuple[str, FileServer]
) -> None:
    sha256, server = file
    server.hold_at = MIB
    ask(host, sha256, len(server.data), server.url)
    until(lambda: standing(host, sha256)["offset"] == MIB)

    assert ask(host, sha256, len(server.data), f"{server.url}?signed=later").status_code == 202
    server.cut_at, server.refused = 2 * MIB, {"/file"}
    server.let_go.set()

    assert ended(host, sha256)["whole"]
    assert [begun for begun, _ in server.asked] == ["", f"bytes={2 * MIB}-", f"bytes={2 * MIB}-"]


def test_a_sender_relieves_a_fetch_that_hangs(host: HostProcess, file: tuple[str, FileServer], tmp_path: Path) -> None:
    sha256, server = file
    server.hold_at = MIB
    ask(host, sha256, len(server.data), server.url)
    until(lambda: standing(host, sha256)["offset"] == MIB)
    (tmp_path / "weights").write_bytes(server.data)

    DRIVER._put_blobs(host.address, [sha256], {sha256: tmp_path / "weights"})
    server.let_go.set()

    assert (host.state / "blobs" / sha256).read_bytes() == server.data
    assert ended(host, sha256)["whole"]
    assert (host.state / "blobs" / sha256).read_bytes() == server.data


def test_a_host_without_networks_fetches_nothing_and_says_so(
    host_process: Callable[..., HostProcess], file: tuple[str, FileServer]
) -> None:
    sha256, server = file
    host = host_process("closed")

    answer = ask(host, sha256, len(server.data), server.url)

    assert (answer.status_code, answer.json()["type"]) == (409, "fetches-nothing")
    assert not DRIVER.fetch(host.address, sha256, len(server.data), lambda: [Source(server.url)])
    assert not DRIVER.observe(host.address).fetches
    assert server.asked == []


def test_the_log_says_what_was_fetched_and_no_secret(host: HostProcess, file: tuple[str, FileServer]) -> None:
    sha256, server = file

    assert DRIVER.observe(host.address).fetches
    assert DRIVER.fetch(
        host.address, sha256, len(server.data), lambda: [Source(f"{server.url}?Signature=s3cr3t", "tok")]
    )

    lines = [line for line in host.log.read_text().splitlines() if sha256 in line]
    facts = json.loads(lines[0].partition(" fetch ")[2])
    assert (facts["bytes"], facts["here"], facts["from"]) == (3 * MIB, 0, server.url.removesuffix("/file"))
    assert "s3cr3t" not in host.log.read_text()
    assert "tok" not in lines[0]
