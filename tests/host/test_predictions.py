"""The prediction log of real hosts, received by a real HTTP server."""

import io
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from tests.host.artifacts import make_model, row
from tests.host.fixtures import HostProcess
from tests.ports import free_port

Factory = Callable[..., HostProcess]


@dataclass
class Receiver:
    """Keeps what is posted to it; answers `status`."""

    port: int
    status: int = 202
    deliveries: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LASTGOOD_SERVER": f"http://127.0.0.1:{self.port}",
            "LASTGOOD_INGEST_TOKEN": "ingest-token",
            "LASTGOOD_HOST_ENDPOINT": "toy-production",
            "LASTGOOD_LOG_BATCH_SECONDS": "0.2",
        }

    def table(self) -> pa.Table:
        return pa.concat_tables(pa.ipc.open_stream(io.BytesIO(body)).read_all() for *_, body in self.deliveries)

    def wait_for_rows(self, rows: int, seconds: float = 120) -> pa.Table:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.deliveries and (table := self.table()).num_rows >= rows:
                return table
            time.sleep(0.02)
        raise AssertionError(f"fewer than {rows} rows arrived within {seconds} s")

    def wait_for_refusals(self, count: int, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while len(self.refused) < count:
            assert time.monotonic() < deadline, "no delivery was tried"
            time.sleep(0.02)


def listen(receiver: Receiver) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.status < 300:
                receiver.deliveries.append((self.path, dict(self.headers), body))
            else:
                receiver.refused.append(self.headers["Idempotency-Key"])
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(free_port())
    server = listen(receiver)
    yield receiver
    server.shutdown()
    server.server_close()


def metric(host: HostProcess, name: str) -> float:
    lines = host.http.get("/metrics").text.splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"lastgood_host_prediction_log_{name} "))
    return float(value)


def test_predictions_arrive_with_what_was_asked_and_answered(
    host_process: Factory, tmp_path: Path, receiver: Receiver
) -> None:
    # given
    host = host_process("gpu-1", **receiver.env)
    digest = host.serve("1", make_model(tmp_path / "a", 1), 1)
    started = time.time()

    # when one row, then two, then a probe are asked for
    single = host.infer(row(), id="first").json()
    host.infer({"AGE": [20, 61], "COLOR": [3, 99], "SHAPE": [0, 5]}, id="second")
    host.infer(row(), id="probe", parameters={"log": False})

    # then
    table = receiver.wait_for_rows(3)
    assert table.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert {name: str(table.schema.field(name).type) for name in ("latency_ms", "output", "score", "input.AGE")} == {
        "latency_ms": "float",
        "output": "int64",
        "score": "float",
        "input.AGE": "float",
    }
    rows = table.to_pydict()
    assert rows["id"] == ["first", "second:0", "second:1"]
    assert rows["version"] == ["1"] * 3
    assert rows["digest"] == [digest] * 3
    assert rows["feature.AGE"] == [30, 20, 61]
    assert rows["feature.COLOR"] == [2, 3, 99]
    assert rows["input.COLOR"] == [2, 3, 0]
    assert rows["input.SHAPE"] == [2, 1, 2]
    assert rows["input.AGE"] == pytest.approx([(age - 40.5) / 20.25 for age in (30, 20, 61)], abs=1e-6)
    assert rows["output"][0] == single["outputs"][0]["data"][0]
    assert rows["score"][0] == single["outputs"][1]["data"][0]
    assert 0 < rows["latency_ms"][0] < 1000
    assert started - 1 < rows["ts"][0].timestamp() < time.time() + 1
    path, headers, _ = receiver.deliveries[0]
    assert urlsplit(path).path == "/api/v1/ingest/predictions/"
    assert parse_qs(urlsplit(path).query) == {"endpoint": ["toy-production"], "host": ["gpu-1"]}
    assert headers["Authorization"] == "Bearer ingest-token"
    assert headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert len({headers["Idempotency-Key"] for _, headers, _ in receiver.deliveries}) == len(receiver.deliveries)


def test_each_version_s_predictions_are_batches_of_their_own(
    host_process: Factory, tmp_path: Path, receiver: Receiver
) -> None:
    # given two models with different outputs
    host = host_process(**receiver.env)
    host.serve("1", make_model(tmp_path / "a", 1), 1)
    value = {"type": "regression", "output": "value"}
    host.serve("1", make_model(tmp_path / "b", 2, model="price", head=value), 1, "price")

    # when
    host.infer(row(), id="label")
    host.infer(row(), id="price", model="price")

    # then
    deadline = time.monotonic() + 120
    while len(receiver.deliveries) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    tables = [pa.ipc.open_stream(io.BytesIO(body)).read_all() for *_, body in receiver.deliveries]
    found = {table["id"][0].as_py(): (str(table["output"].type), table["score"].null_count) for table in tables}
    assert found == {"label": ("int64", 0), "price": ("double", 1)}


def test_a_full_batch_is_sent_before_its_time(host_process: Factory, tmp_path: Path, receiver: Receiver) -> None:
    env = {**receiver.env, "LASTGOOD_LOG_BATCH_SECONDS": "3600", "LASTGOOD_LOG_BATCH_ROWS": "5"}
    host = host_process(**env)
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    for _ in range(5):
        host.infer(row())

    assert receiver.wait_for_rows(5).num_rows == 5


def test_nothing_is_lost_while_the_server_is_down_and_the_host_is_killed(host_process: Factory, tmp_path: Path) -> None:
    # given a server that is down
    receiver = Receiver(free_port())
    host = host_process(**receiver.env)
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    # when predictions are made, the host is killed once they are in the spool, and both come back
    latencies = []
    for number in range(20):
        before = time.monotonic()
        host.infer(row(), id=f"r{number}")
        latencies.append(time.monotonic() - before)
    deadline = time.monotonic() + 120
    while metric(host, "spooled_rows") < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    host.stop(signal.SIGKILL)
    server = listen(receiver)
    host.start()

    # then every row arrives, and no request waited for the server
    table = receiver.wait_for_rows(20)
    assert sorted(table["id"].to_pylist()) == sorted(f"r{number}" for number in range(20))
    assert statistics.median(latencies) < 2.0
    assert metric(host, "dropped_rows_total") == 0
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [503, 401])
def test_a_batch_not_taken_is_sent_again_under_the_same_key(
    host_process: Factory, tmp_path: Path, receiver: Receiver, status: int
) -> None:
    # given
    receiver.status = status
    host = host_process(**receiver.env)
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    # when
    host.infer(row(), id="once")
    receiver.wait_for_refusals(2)
    receiver.status = 200

    # then
    assert receiver.wait_for_rows(1)["id"].to_pylist() == ["once"]
    assert {receiver.deliveries[0][1]["Idempotency-Key"]} == set(receiver.refused)


def test_a_batch_refused_by_its_content_holds_up_no_other(
    host_process: Factory, tmp_path: Path, receiver: Receiver
) -> None:
    # given
    receiver.status = 422
    host = host_process(**receiver.env)
    host.serve("1", make_model(tmp_path / "a", 1), 1)
    host.infer(row(), id="refused")
    receiver.wait_for_refusals(1)

    # when
    receiver.status = 200
    host.infer(row(), id="taken")

    # then
    assert receiver.wait_for_rows(1)["id"].to_pylist()[0] == "taken"


def test_a_spool_that_is_full_drops_the_oldest_and_says_so(host_process: Factory, tmp_path: Path) -> None:
    # given a server that is down and little room
    env = {**Receiver(free_port()).env, "LASTGOOD_LOG_SPOOL_BYTES": str(2**16), "LASTGOOD_LOG_BATCH_ROWS": "200"}
    host = host_process(**env)
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    # when
    columns = {name: data * 200 for name, data in row().items()}
    for _ in range(10):
        assert host.infer(columns).status_code == 200

    # then no row is unaccounted for
    deadline = time.monotonic() + 120
    while metric(host, "pending_rows") and time.monotonic() < deadline:
        time.sleep(0.02)
    dropped, spooled = metric(host, "dropped_rows_total"), metric(host, "spooled_rows")
    assert dropped > 0
    assert spooled > 0
    assert dropped + spooled == 2000


def test_what_is_in_memory_is_sent_when_the_host_is_stopped(
    host_process: Factory, tmp_path: Path, receiver: Receiver
) -> None:
    host = host_process(**{**receiver.env, "LASTGOOD_LOG_BATCH_SECONDS": "3600"})
    host.serve("1", make_model(tmp_path / "a", 1), 1)
    host.infer(row(), id="last")

    host.stop()

    assert receiver.table()["id"].to_pylist() == ["last"]
