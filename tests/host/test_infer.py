"""The Open Inference Protocol of a real host: answers, refusals that name the field, and what it shows of itself."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from host.metrics import Counters
from tests.host.artifacts import BINARY, architecture, make_model, make_tensors, row
from tests.host.fixtures import HostProcess, shared_host

Factory = Callable[..., HostProcess]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """One host for all tests here that leave its default, version 1 of toy, as it is."""
    with shared_host(tmp_path_factory.mktemp("shared")) as shared:
        shared.serve("1", make_model(shared.state / "made", 1), 1)
        yield shared


def expected_raw(config: dict[str, Any], tensors: dict[str, torch.Tensor], prefix: str = "") -> torch.Tensor:
    """What the network of tests/host/artifacts.py gives for `row()`, by torch's own modules."""
    modules: list[torch.nn.Module] = []
    for index, layer in enumerate(config["layers"]):
        module: torch.nn.Module = {
            "linear": lambda d: torch.nn.Linear(d["in"], d["out"]),
            "layer_norm": lambda d: torch.nn.LayerNorm(d["size"]),
            "batch_norm": lambda d: torch.nn.BatchNorm1d(d["size"]),
            "dropout": lambda d: torch.nn.Dropout(d["p"]),
            "relu": lambda d: torch.nn.ReLU(),
            "gelu": lambda d: torch.nn.GELU(),
            "tanh": lambda d: torch.nn.Tanh(),
            "sigmoid": lambda d: torch.nn.Sigmoid(),
        }[layer["type"]](layer)
        own = f"{prefix}layers.{index}."
        state = {name[len(own) :]: tensor.float() for name, tensor in tensors.items() if name.startswith(own)}
        module.load_state_dict(state, strict=False)
        modules.append(module)
    age = torch.tensor([(30 - 40.5) / 20.25])
    color, shape = (tensors[f"{prefix}embeddings.{name}.weight"].float()[2] for name in ("COLOR", "SHAPE"))
    with torch.no_grad():
        return torch.nn.Sequential(*modules).eval()(torch.cat([age, color, shape])[None])[0]


DEEP = (
    {"type": "batch_norm", "size": 6},
    {"type": "linear", "in": 6, "out": 5},
    {"type": "gelu"},
    {"type": "layer_norm", "size": 5},
    {"type": "linear", "in": 5, "out": 4},
    {"type": "tanh"},
    {"type": "linear", "in": 4, "out": 4},
    {"type": "sigmoid"},
    {"type": "linear", "in": 4, "out": 1},
)


@pytest.mark.parametrize(
    ("layers", "members", "dtype"),
    [
        (None, None, "float32"),
        (({"type": "linear", "in": 6, "out": 1},), None, "float32"),
        (DEEP, None, "float32"),
        (None, 3, "float32"),
        (None, None, "float16"),
        (None, None, "bfloat16"),
    ],
    ids=["default", "one layer", "every layer type", "ensemble", "float16", "bfloat16"],
)
def test_any_declared_architecture_answers_as_torch_does(
    host: HostProcess, tmp_path: Path, layers: Any, members: int | None, dtype: str
) -> None:
    # given
    model = tmp_path.name
    made = make_model(tmp_path / "a", 5, layers, model=model, members=members, dtype=dtype)
    digest = host.serve("1", made, 1, model)
    config = architecture(layers, members=members)
    tensors = make_tensors(config, 5, dtype)
    prefixes = [""] if members is None else [f"members.{k}." for k in range(members)]
    logit = sum(float(expected_raw(config, tensors, prefix)[0]) for prefix in prefixes) / len(prefixes)

    # when
    answer = host.infer(row(), model=model, id="r-1").json()

    # then
    assert answer["outputs"][1]["data"][0] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    assert answer["outputs"][0] == {"name": "label", "shape": [1], "datatype": "INT64", "data": [int(logit >= 0)]}
    assert (answer["id"], answer["model_version"], answer["parameters"]["digest"]) == ("r-1", "1", digest)
    assert host.view(model)["versions"]["1"]["loaded_digest"] == digest


def test_a_multiclass_head_answers_the_likeliest_class_and_its_probability(host: HostProcess, tmp_path: Path) -> None:
    head = {"type": "multiclass", "classes": [10, 20, 30], "output": "label", "score": "score"}
    host.serve("1", make_model(tmp_path / "a", 6, model=tmp_path.name, head=head), 1, tmp_path.name)
    config = architecture(head=head)
    odds = torch.softmax(expected_raw(config, make_tensors(config, 6)), 0)

    label, score = host.infer(row(), model=tmp_path.name).json()["outputs"]

    assert label["data"] == [[10, 20, 30][int(odds.argmax())]]
    assert score["data"][0] == pytest.approx(float(odds.max()), abs=1e-6)


def test_a_regression_head_answers_the_number_itself(host: HostProcess, tmp_path: Path) -> None:
    head = {"type": "regression", "output": "value"}
    host.serve("1", make_model(tmp_path / "a", 7, model=tmp_path.name, head=head), 1, tmp_path.name)
    config = architecture(head=head)

    (value,) = host.infer(row(), model=tmp_path.name).json()["outputs"]

    assert value["datatype"] == "FP64"
    assert value["data"][0] == pytest.approx(float(expected_raw(config, make_tensors(config, 7))[0]), abs=1e-6)


def test_many_rows_are_answered_as_each_alone_and_unlisted_codes_as_the_unknown(host: HostProcess) -> None:
    # given
    columns = {"AGE": [20, 30, 90], "COLOR": [1, 99, -5], "SHAPE": [0, 5, 7]}

    # when
    together = host.infer(columns).json()["outputs"][1]["data"]
    alone = [
        host.infer({name: [data[k]] for name, data in columns.items()}).json()["outputs"][1]["data"][0]
        for k in range(3)
    ]
    unknown = [host.infer(row(30, color, 5)).json()["outputs"][1]["data"][0] for color in (99, -5, 2**40)]

    # then
    assert together == pytest.approx(alone, abs=1e-7)
    assert len(set(unknown)) == 1


def test_large_batches_are_answered_beside_small_requests(host: HostProcess) -> None:

    batch = host.infer({"AGE": [30] * 20_000, "COLOR": [2] * 20_000, "SHAPE": [5] * 20_000}).json()["outputs"]
    single = host.infer(row()).json()["outputs"][1]["data"][0]

    assert len(batch[0]["data"]) == 20_000
    assert batch[1]["data"] == pytest.approx([single] * 20_000, abs=1e-6)


def change(name: str, **more: Any) -> Callable[[list[dict[str, Any]]], None]:
    def apply(inputs: list[dict[str, Any]]) -> None:
        next(item for item in inputs if item["name"] == name).update(more)

    return apply


@pytest.mark.parametrize(
    ("spoil", "type_", "field"),
    [
        (lambda inputs: inputs.append({**inputs[0], "name": "HEIGHT"}), "unknown-input", "HEIGHT"),
        (lambda inputs: inputs.pop(1), "missing-input", "COLOR"),
        (lambda inputs: inputs.append(inputs[0]), "bad-input", "AGE"),
        (change("AGE", shape=[2]), "bad-input", "AGE"),
        (change("AGE", shape=[1, 1]), "bad-input", "AGE"),
        (change("AGE", shape=[0], data=[]), "bad-input", "AGE"),
        (change("SHAPE", shape=[2], data=[1, 2]), "bad-input", "SHAPE"),
        (change("COLOR", datatype="FP32"), "bad-input", "COLOR"),
        (change("COLOR", data=[1.5]), "bad-input", "COLOR"),
        (change("COLOR", data=["1"]), "bad-input", "COLOR"),
        (change("COLOR", data=[True]), "bad-input", "COLOR"),
        (change("COLOR", data=[None]), "bad-input", "COLOR"),
        (change("AGE", data=[2**63]), "bad-input", "AGE"),
        (change("AGE", data=None), "bad-input", "AGE"),
    ],
)
def test_a_malformed_input_is_refused_by_name(
    host: HostProcess, spoil: Callable[[list[dict[str, Any]]], None], type_: str, field: str
) -> None:
    # given
    inputs = [{"name": name, "shape": [1], "datatype": "INT64", "data": data} for name, data in row().items()]
    spoil(inputs)

    # when
    answer = host.http.post("/v2/models/toy/infer", json={"inputs": inputs})

    # then the sentence names the field, and the version is not blamed
    assert (answer.status_code, answer.json()["type"], answer.json()["field"]) == (400, type_, field)
    assert field in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert host.view()["versions"]["1"]["failures"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"inputs": {}}', b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_request_is_refused(host: HostProcess, body: bytes) -> None:

    answer = host.http.post("/v2/models/toy/infer", content=body)

    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")
    assert host.infer(row()).status_code == 200


def test_a_body_too_large_is_refused(host: HostProcess) -> None:

    assert host.http.post("/v2/models/toy/infer", content=b" " * (16 * 2**20 + 1)).status_code == 413


def test_unknown_versions_are_404_and_unloaded_ones_503(host_process: Factory, tmp_path: Path) -> None:
    host = host_process()
    host.serve("1", make_model(tmp_path / "a", 1), 1)
    host.put("2", make_model(tmp_path / "b", 2))

    found = {
        "model": host.infer(row(), model="other").status_code,
        "version": host.infer(row(), "9").status_code,
        "staged": host.infer(row(), "2").status_code,
        "staged ready": host.http.get("/v2/models/toy/versions/2/ready").status_code,
        "version ready": host.http.get("/v2/models/toy/versions/1/ready").status_code,
        "model ready": host.http.get("/v2/models/toy/ready").status_code,
        "no such model": host.http.get("/v2/models/other/ready").status_code,
    }

    assert found == {
        "model": 404,
        "version": 404,
        "staged": 503,
        "staged ready": 503,
        "version ready": 200,
        "model ready": 200,
        "no such model": 404,
    }


def test_the_protocol_s_descriptions_and_repository(host_process: Factory, tmp_path: Path) -> None:
    # given
    host = host_process()
    host.serve("1", make_model(tmp_path / "a", 1), 1)
    host.put("2", make_model(tmp_path / "b", 2))

    # when it is described, and the other version is loaded and unloaded by the protocol's own calls
    about = host.http.get("/v2").json()
    model = host.http.get("/v2/models/toy").json()
    loaded = host.http.post("/v2/repository/models/toy/load", json={"parameters": {"version": "2"}})
    index = host.http.post("/v2/repository/index").json()
    unloaded = host.http.post("/v2/repository/models/toy/unload", json={"parameters": {"version": "2"}})
    ready = host.http.post("/v2/repository/index", json={"ready": True}).json()

    # then
    assert about["extensions"] == ["model_repository"]
    assert [item["name"] for item in model["inputs"]] == ["AGE", "COLOR", "SHAPE"]
    assert model["outputs"][1] == {"name": BINARY["score"], "datatype": "FP32", "shape": [-1]}
    assert (loaded.status_code, loaded.content, unloaded.status_code) == (200, b"", 200)
    assert index == [
        {"name": "toy", "version": "1", "state": "READY"},
        {"name": "toy", "version": "2", "state": "READY"},
    ]
    assert ready == index[:1]
    assert host.http.post("/v2/repository/models/toy/load").status_code == 400


def test_probes_are_counted_apart_from_live_requests(host_process: Factory, tmp_path: Path) -> None:
    host = host_process()
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    for _ in range(3):
        host.infer(row())
    host.infer(row(), parameters={"log": False})

    metrics = host.http.get("/metrics").text.splitlines()
    assert host.view()["versions"]["1"]["requests"] == 3
    assert 'lastgood_host_requests_total{model="toy",version="1"} 3' in metrics
    assert 'lastgood_host_probes_total{model="toy",version="1"} 1' in metrics
    assert 'lastgood_host_request_duration_seconds_count{model="toy",version="1"} 3' in metrics
    assert 'lastgood_host_fence{model="toy"} 1' in metrics


def test_refusals_are_counted_by_model_and_status(host_process: Factory, tmp_path: Path) -> None:
    host = host_process()
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    host.infer(row())
    answers = [
        host.http.post("/v2/models/toy/infer", content=b"no JSON"),
        host.http.post("/v2/models/toy/versions/9/infer", json={}),
        host.http.post("/v2/models/nobody/infer", json={"inputs": []}),
    ]

    metrics = host.http.get("/metrics").text.splitlines()
    assert [answer.status_code for answer in answers] == [400, 404, 404]
    assert {line for line in metrics if line.startswith("lastgood_host_refused_total")} == {
        'lastgood_host_refused_total{model="toy",status="400"} 1',
        'lastgood_host_refused_total{model="toy",status="404"} 1',
        'lastgood_host_refused_total{model="toy",status="503"} 0',
        'lastgood_host_refused_total{model="",status="404"} 1',
    }
    assert 'lastgood_host_failures_total{model="toy",version="1"} 0' in metrics


def test_failures_are_counted_by_the_exception() -> None:
    counters = Counters()
    for failed in ("RuntimeError", "", "RuntimeError", "OutOfMemoryError"):
        counters.count(0.01, failed=failed, probe=False)
    counters.count(0.01, failed="RuntimeError", probe=True)

    assert (counters.requests, counters.failures, counters.probe_failures) == (4, 3, 1)
    assert counters.exceptions == {"RuntimeError": 2, "OutOfMemoryError": 1}
