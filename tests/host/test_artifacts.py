"""Artifacts that are not what the host serves are refused with a sentence that names the fault; nothing is staged."""

import copy
import hashlib
import io
import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import rfc8785
import torch

from host.manifest import read_manifest
from host.predictions import Entry, build_batch
from host.problems import Problem
from host.version import LoadedVersion, check_columns, read_parts
from tests.host.artifacts import (
    architecture,
    digest_of,
    make_model,
    make_tensors,
    pack,
    preprocessing,
    row,
    signature,
    weights_bytes,
)
from tests.host.fixtures import HostProcess, shared_host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with shared_host(tmp_path_factory.mktemp("shared")) as shared:
        yield shared


def torch_archive() -> bytes:
    sink = io.BytesIO()
    torch.save({"w": torch.ones(2)}, sink)
    return sink.getvalue()


def safetensors(header: str | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def changed(tensors: dict[str, Any], **changes: Any) -> bytes:
    named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return weights_bytes({name: t for name, t in (tensors | named).items() if t is not None})


def padded(data: bytes) -> bytes:
    """The same tensors with eight spaces more at the header's end: valid safetensors, other bytes."""
    length = struct.unpack("<Q", data[:8])[0]
    return struct.pack("<Q", length + 8) + data[8 : 8 + length] + b" " * 8 + data[8 + length :]


TENSORS = make_tensors(architecture(), 1)
WEIGHTS = {
    "pickle": (pickle.dumps({"a": 1}), "is a pickle or a torch.save archive"),
    "torch.save": (torch_archive(), "is a pickle or a torch.save archive"),
    "empty header": (safetensors(""), "has a header that can't be read"),
    "too short": (b"\x01", "is too short"),
    "length 2^63": (safetensors("{}", length=2**63), "claims a header of 9223372036854775808 bytes"),
    "length past the end": (safetensors("{}", length=3), "claims a header of 3 bytes"),
    "not an object": (safetensors("[]"), "is not an object"),
    "deep": (safetensors("[" * 100_000), "nested too deeply"),
    "key twice": (
        safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', b"\0" * 4),
        "'a' appears twice",
    ),
    "overlap": (safetensors({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, b"\0" * 12), "overlaps another"),
    "gap": (safetensors({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, b"\0" * 12), "leaves a gap"),
    "past the end": (safetensors({"a": entry(0, 400, [100])}, b"\0" * 4), "holds 4 bytes of tensors"),
    "shape lies": (safetensors({"a": entry(0, 4, [2**40])}, b"\0" * 4), "claims 4 bytes"),
    "negative": (safetensors({"a": entry(0, 4, [-1])}, b"\0" * 4), "not whole numbers"),
    "integers": (weights_bytes({"a": torch.ones(2, dtype=torch.int64)}), "only F32, F16 and BF16"),
    "missing": (changed(TENSORS, layers__0__bias=None), "lacks the tensor 'layers.0.bias'"),
    "extra": (changed(TENSORS, layers__9__bias=torch.ones(2)), "has the tensor 'layers.9.bias'"),
    "shape": (changed(TENSORS, layers__0__bias=torch.ones(9)), "has the shape [9], declared is [8]"),
    "not a number": (changed(TENSORS, layers__0__bias=torch.full((8,), float("nan"))), "not finite"),
    "written otherwise": (padded(weights_bytes(TENSORS)), "was not written by safetensors.torch.save"),
}


def refuse(host: HostProcess, made: tuple[bytes, dict[str, Path]], model: str, sentence: str) -> None:
    answer = host.put("1", made, model)
    assert (answer.status_code, answer.json()["type"]) == (422, "artifact-refused")
    assert sentence in answer.json()["detail"]
    assert model not in host.http.get("/lastgood/v1/state").json()["models"]
    assert host.load("1", model).status_code == 404


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_what_is_declared_are_refused(host: HostProcess, tmp_path: Path, name: str) -> None:
    data, sentence = WEIGHTS[name]
    config = architecture()
    refuse(host, pack(tmp_path, "toy", data, preprocessing(), config, signature(config)), "toy", sentence)


def edit(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(value: dict[str, Any]) -> None:
        inner: Any = value
        for key in path[:-1]:
            inner = inner[key]
        if to is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = to

    return apply


CONFIGS = [
    ("config", edit("layers", 1, "type", to="exec"), "the layer type 'exec' is not in"),
    ("config", edit("layers", 1, "code", to="x"), "has 'code', which its vocabulary does not know"),
    ("config", edit("layers", 0, "out", to=9), "layer 3: it takes 8 numbers, but what comes before gives 9"),
    ("config", edit("layers", 3, "out", to=2), "the last layer gives 2 numbers, but the head takes 1"),
    ("config", edit("layers", 2, "p", to=1.5), "'p' must be at least 0 and less than 1"),
    ("config", edit("format", to="lastgood-architecture/2"), "the format must be lastgood-architecture/1"),
    ("config", edit("head", "type", to="argmax"), "the head type 'argmax'"),
    ("config", edit("head", "threshold", to=None), "head lacks 'threshold'"),
    ("config", edit("embeddings", "COLOR", "rows", to=3), "maps 3 codes of COLOR and the unknown"),
    ("config", edit("embeddings", "COLOR", "dim", to=2**40), "'dim' must be a whole number"),
    ("config", edit("embeddings", "SHAPE", to=None), "exactly those of the categorical inputs"),
    ("config", edit("inputs", "numeric", to=["SIZE"]), "disagree on the numeric inputs: AGE, SIZE"),
    ("config", edit("ensemble", to={"members": 0}), "'members' must be a whole number"),
    ("preprocessing", edit("numeric", 0, "std", to=0), "'std' must be greater"),
    ("preprocessing", edit("numeric", 0, "op", to="eval"), "the operation 'eval' is not one of"),
    ("preprocessing", edit("categorical", 0, "codes", to=[1, 1]), "lists a code twice"),
    ("preprocessing", edit("categorical", 0, "codes", to=[1, "a"]), "must list whole numbers, or texts"),
    ("preprocessing", edit("categorical", 0, "unknown", to=1), "'unknown' must be 0"),
    ("preprocessing", edit("categorical", 0, "name", to="AGE"), "names an input twice"),
    ("signature", edit("inputs", 0, "name", to="SIZE"), "are not those of the preprocessing: AGE, SIZE"),
    ("signature", edit("inputs", 1, "datatype", to="FP32"), "gives COLOR the datatype FP32"),
    ("signature", edit("outputs", 1, "datatype", to="INT64"), "must be those of the head"),
]


@pytest.mark.parametrize(("which", "spoil", "sentence"), CONFIGS, ids=[sentence for *_, sentence in CONFIGS])
def test_declarations_outside_the_vocabulary_are_refused(
    host: HostProcess, tmp_path: Path, which: str, spoil: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    config = architecture()
    values = {"config": copy.deepcopy(config), "preprocessing": preprocessing(), "signature": signature(config)}
    spoil(values[which])

    made = pack(tmp_path, "toy", weights_bytes(TENSORS), values["preprocessing"], values["config"], values["signature"])

    refuse(host, made, "toy", sentence)


def test_json_that_is_not_canonical_is_refused(host: HostProcess, tmp_path: Path) -> None:
    config = architecture()
    loose = json.dumps(preprocessing(), indent=1).encode()
    refuse(host, pack(tmp_path, "toy", weights_bytes(TENSORS), loose, config, signature(config)), "toy", "RFC 8785")


def test_a_manifest_with_a_component_that_can_not_be_built_is_refused(host: HostProcess, tmp_path: Path) -> None:
    manifest, blobs = make_model(tmp_path, 1)
    value = json.loads(manifest)
    value["components"]["ensemble"] = value["components"]["weights"]
    refuse(host, (rfc8785.dumps(value), blobs), "toy", "has 'ensemble', which its vocabulary does not know")


def test_a_manifest_whose_blobs_are_missing_names_them(host: HostProcess, tmp_path: Path) -> None:
    manifest, _ = make_model(tmp_path, 99)
    weights = json.loads(manifest)["components"]["weights"][0]["sha256"]

    answer = host.http.put("/lastgood/v1/models/toy/versions/1", content=manifest)

    assert (answer.status_code, answer.json()["type"]) == (422, "missing-blobs")
    assert weights in answer.json()["missing"]


def test_a_version_can_not_be_staged_again_with_other_contents(host: HostProcess, tmp_path: Path) -> None:
    # given
    first = make_model(tmp_path / "a", 1, model="fixed")
    assert host.put("1", first, "fixed").status_code == 201

    # when
    again = host.put("1", first, "fixed")
    other = host.put("1", make_model(tmp_path / "b", 2, model="fixed"), "fixed")

    # then
    assert (again.status_code, other.status_code, other.json()["type"]) == (200, 409, "version-exists")
    assert host.view("fixed")["versions"]["1"]["digest"] == digest_of(first[0])


def test_a_blob_is_kept_only_under_its_own_digest(host: HostProcess) -> None:
    data = b"some bytes"
    right, wrong = hashlib.sha256(data).hexdigest(), hashlib.sha256(b"others").hexdigest()

    answers = [
        host.http.put(f"/lastgood/v1/blobs/{sha256}", content=data).status_code for sha256 in (wrong, right, right)
    ]

    assert answers == [422, 201, 200]
    assert host.http.head(f"/lastgood/v1/blobs/{wrong}").status_code == 404
    assert host.http.head(f"/lastgood/v1/blobs/{right}").status_code == 200
    assert sorted(path.name for path in (host.state / "blobs").glob("*") if path.name in (wrong, right)) == [right]
    assert list((host.state / "blobs").glob(".new-*")) == []


@pytest.mark.parametrize("path", ["blobs/..%2F..%2Fpointer", "models/..%2Fx/versions/1", "models/toy/versions/..%2F1"])
def test_names_that_reach_out_of_the_state_directory_are_refused(host: HostProcess, path: str) -> None:
    before = sorted(host.state.rglob("*"))

    assert host.http.put(f"/lastgood/v1/{path}", content=b"{}").status_code in (400, 404)
    assert sorted(host.state.rglob("*")) == before


def loaded(made: tuple[bytes, dict[str, Path]]) -> LoadedVersion:
    manifest, blobs = made
    return LoadedVersion("1", read_parts(read_manifest(manifest, "toy"), blobs.__getitem__), torch.device("cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_loaded_reads_back_as_what_was_packed(tmp_path: Path, dtype: str) -> None:
    made = make_model(tmp_path, 3, dtype=dtype, members=2)

    assert loaded(made).read_back().to_bytes() == made[0]


def test_a_weight_changed_in_memory_changes_the_answer_and_the_digest_read_back(tmp_path: Path) -> None:
    # given
    made = make_model(tmp_path, 3)
    version = loaded(made)
    columns: dict[str, Any] = dict(row())
    before = version.answer(columns).outputs

    # when one number of one tensor is damaged where the network computes with it
    version.tensors["layers.3.bias"][0] += 0.25

    # then
    assert version.answer(columns).outputs != before
    read_back = version.read_back()
    assert read_back.digest() != digest_of(made[0])
    assert read_back.files["weights"] != version.signature.files["weights"]
    assert read_back.files["config"] == version.signature.files["config"]


def test_preprocessing_really_used_is_what_is_read_back(tmp_path: Path) -> None:
    config = architecture()
    weights = weights_bytes(TENSORS)
    made = [
        pack(tmp_path / str(mean), "toy", weights, preprocessing(mean=mean), config, signature(config))
        for mean in (40.5, 0.1 + 0.2)
    ]

    digests = [loaded(item).read_back().digest() for item in made]

    assert digests == [digest_of(manifest) for manifest, _ in made]
    assert len(set(digests)) == 2


def floats_and_texts(folder: Path) -> tuple[bytes, dict[str, Path]]:
    """A version whose number is FP32 and one of whose codes is text."""
    config = architecture()
    steps = preprocessing()
    steps["numeric"] = [{"name": "AGE", "op": "minmax", "min": -0.5, "max": 1.5}]
    steps["categorical"][1]["codes"] = ["round", "square"]
    sign = signature(config)
    sign["inputs"][0]["datatype"] = "FP32"
    sign["inputs"][2]["datatype"] = "BYTES"
    return pack(folder, "toy", weights_bytes(TENSORS), steps, config, sign)


def test_numbers_with_fractions_and_codes_that_are_texts_are_served_and_logged(tmp_path: Path) -> None:
    # given
    version = loaded(floats_and_texts(tmp_path))
    request = {
        "inputs": [
            {"name": "AGE", "shape": [3], "datatype": "FP64", "data": [0.5, 2**60 + 1, 1]},
            {"name": "COLOR", "shape": [3], "datatype": "INT32", "data": [1, 2, 3]},
            {"name": "SHAPE", "shape": [3], "datatype": "BYTES", "data": ["square", "round", "oval"]},
        ]
    }

    # when
    columns = check_columns(version.signature, request)
    answer = version.answer(columns)
    batch = pa.ipc.open_stream(build_batch(version, [Entry(0, ["a", "b", "c"], columns, answer)])).read_all()

    # then
    assert answer.inputs["SHAPE"].tolist() == [2, 1, 0]
    assert answer.inputs["AGE"].tolist() == [0.5, 2.0**59, 0.75]
    assert batch["feature.AGE"].type == pa.float32()
    assert batch["feature.AGE"].to_pylist() == [0.5, 2.0**60, 1.0]
    assert batch["feature.SHAPE"].to_pylist() == ["square", "round", "oval"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39, 10**400, None, "1"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: Any) -> None:
    version = loaded(floats_and_texts(tmp_path))
    item = {"name": "AGE", "shape": [1], "datatype": "FP64", "data": [value]}

    with pytest.raises(Problem) as refused:
        check_columns(version.signature, {"inputs": [item]})

    assert (refused.value.status, refused.value.extra["field"]) == (400, "AGE")
