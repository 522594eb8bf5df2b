"""A version that is loaded: builds it from its files, answers with it, and says what is really in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from host.adapter import check_adapter
from host.manifest import FLOATS, INTEGERS, File, Manifest, check_signature, file_of
from host.network import Network
from host.problems import ArtifactRefused, Problem
from host.strictjson import canonical, parse_canonical
from host.vocabulary import (
    Architecture,
    Categorical,
    Preprocessing,
    check_together,
    read_architecture,
    read_preprocessing,
)
from host.weights import Header, Weights, check_tensors, read_header, read_tensors, stored_digest

RANGES = {name: (int(np.iinfo(name.lower()).min), int(np.iinfo(name.lower()).max)) for name in INTEGERS}
LARGEST = {"FP32": float(np.finfo(np.float32).max), "FP64": float(np.finfo(np.float64).max)}
# A wider or narrower datatype of the same family will do, since each value is checked against the signature's own.
ACCEPTED = {"BYTES": ("BYTES",)} | dict.fromkeys(INTEGERS, INTEGERS) | dict.fromkeys(FLOATS, (*INTEGERS, *FLOATS))
SHARE_OF_TIME_HASHING = 0.05
SLOW_SECONDS = 0.5


@dataclass(frozen=True)
class Answer:
    """What a version answers to n rows. `output` is int64 [n] (float64 for a regression), `score` float32 [n] or None;
    `inputs` holds each input after preprocessing: float32 [n] or int32 [n]."""

    outputs: list[dict[str, Any]]
    output: NDArray[Any]
    score: NDArray[np.float32] | None
    inputs: dict[str, NDArray[Any]]
    latency_ms: float


@dataclass(frozen=True)
class ReadBack:
    """What was in memory `at` (seconds since 1970), and how long hashing it took, in seconds."""

    manifest: Manifest
    at: float
    done: float
    seconds: float

    @property
    def is_fresh(self) -> bool:
        """Hashing is kept below a twentieth of the time: a reading stands for twenty times what it took."""
        return time.monotonic() - self.done < self.seconds / SHARE_OF_TIME_HASHING

    @property
    def is_slow(self) -> bool:
        """Whether reading again takes too long for a call to wait for it."""
        return self.seconds > SLOW_SECONDS


@dataclass(frozen=True)
class Parts:
    """A version's checked files, before they are on the device."""

    manifest: Manifest
    preprocessing: Preprocessing
    architecture: Architecture
    header: Header
    weights: Weights
    adapter: tuple[Header, Weights] | None = None


def read_parts(manifest: Manifest, blob: Callable[[str], Path]) -> Parts:
    """Read and check all files of a version; `blob` gives the path of a SHA-256. Raises ArtifactRefused."""
    values = {}
    for component in ("preprocessing", "config"):
        file = manifest.files[component]
        data = blob(file.sha256).read_bytes()
        if file_of(file.path, data) != file:
            raise ArtifactRefused(f"{file.path} is damaged: its bytes are not those that the manifest names.")
        values[component] = parse_canonical(data, file.path)
    preprocessing = read_preprocessing(values["preprocessing"], manifest.files["preprocessing"].path)
    architecture = read_architecture(values["config"], manifest.files["config"].path)
    check_together(preprocessing, architecture)
    check_signature(manifest, preprocessing, architecture)
    file = manifest.files["weights"]
    path, header = _opened(file, blob)
    check_tensors(header, architecture.tensors(), file.path)
    adapter = _read_adapter(manifest.files["adapter"], architecture, blob) if "adapter" in manifest.files else None
    weights = read_tensors(path, file.sha256, header, file.path)
    return Parts(manifest, preprocessing, architecture, header, weights, adapter)


def _opened(file: File, blob: Callable[[str], Path]) -> tuple[Path, Header]:
    path = blob(file.sha256)
    if path.stat().st_size != file.size:
        raise ArtifactRefused(f"{file.path} has {path.stat().st_size} bytes; the manifest says {file.size}.")
    return path, read_header(path, file.path)


def _read_adapter(file: File, architecture: Architecture, blob: Callable[[str], Path]) -> tuple[Header, Weights]:
    path, header = _opened(file, blob)
    check_adapter(header, architecture, file.path)
    return header, read_tensors(path, file.sha256, header, file.path)


def _encoder(item: Categorical) -> Callable[[Sequence[Any]], NDArray[np.int64]]:
    """The code map as a function: codes [n] -> indexes int64 [n]."""
    lookup = {code: index + 1 for index, code in enumerate(item.codes)}
    return lambda codes: np.fromiter((lookup.get(code, 0) for code in codes), np.int64, len(codes))


class LoadedVersion:
    """One version in memory. `answer` may be called from any thread."""

    def __init__(self, version: str, parts: Parts, device: torch.device) -> None:
        self.version = version
        self.digest = parts.manifest.digest()
        self.signature = parts.manifest
        self.preprocessing = parts.preprocessing
        self.architecture = parts.architecture
        self.device = device
        self.header = parts.header
        self.tensors = {name: tensor.to(device, torch.float32) for name, tensor in parts.weights.tensors.items()}
        self.adapter_header, adapter = parts.adapter or (None, None)
        held = adapter.tensors if adapter is not None else {}
        self.adapter = {name: tensor.to(device, torch.float32) for name, tensor in held.items()}
        self.bytes = sum(tensor.nbytes for tensor in (*self.tensors.values(), *self.adapter.values()))
        self.network = Network(self.architecture, self.tensors, self.adapter)
        numeric = {item.name: item for item in self.preprocessing.numeric}
        self._shift = np.array([[numeric[name].shift] for name in self.architecture.numeric], np.float64)
        self._scale = np.array([[numeric[name].scale] for name in self.architecture.numeric], np.float64)
        categorical = {item.name: item for item in self.preprocessing.categorical}
        self._encoders = [_encoder(categorical[name]) for name in self.architecture.categorical]
        self.last_read: ReadBack | None = None
        self.row_ms = 0.0
        # What an answer costs, not how long a busy machine made it wait; a thread that waits for a GPU must count it.
        self._clock = time.thread_time if device.type == "cpu" else time.perf_counter

    def read_back(self) -> Manifest:
        """The manifest rebuilt from what is in memory: the tensors' bytes in their stored datatypes, and the
        preprocessing, architecture and signature that answer requests. Its digest is this version's `loaded_digest`.
        """
        started = time.monotonic()
        sha256, size = stored_digest(self.tensors, self.header)
        return self._read(sha256, size, time.monotonic() - started)

    def read_back_as_loaded(self, weights: Weights) -> Manifest:
        """The same right after loading. Tensors that are computed with where they were hashed, on the CPU and in
        float32, are not hashed once more."""
        same = all(self.tensors[name].data_ptr() == tensor.data_ptr() for name, tensor in weights.tensors.items())
        return self._read(weights.sha256, weights.size, weights.seconds) if same else self.read_back()

    def _read(self, sha256: str, size: int, seconds: float) -> Manifest:
        names = self.signature.files
        files: dict[str, File] = {
            "weights": File(names["weights"].path, sha256, size),
            "preprocessing": file_of(names["preprocessing"].path, canonical(self.preprocessing.to_json())),
            "config": file_of(names["config"].path, canonical(self.architecture.to_json())),
        }
        if self.adapter_header is not None:
            files["adapter"] = File(names["adapter"].path, *stored_digest(self.adapter, self.adapter_header))
        manifest = Manifest(self.signature.model, files, self.signature.inputs, self.signature.outputs)
        self.last_read = ReadBack(manifest, time.time(), time.monotonic(), seconds)
        return manifest

    def warm_up(self) -> None:
        """Answer a small batch and single rows of the first known codes, so that the first request is not the slow one.

        What a first call takes says nothing of those after it: `row_ms` begins with the fastest single row.
        """
        values: dict[str, Any] = dict.fromkeys(self.architecture.numeric, 0)
        values |= {item.name: item.codes[0] for item in self.preprocessing.categorical}
        answers = [self.answer({name: [value] * rows for name, value in values.items()}) for rows in (64, 1, 1, 1)]
        self.row_ms = min(answer.latency_ms for answer in answers[1:])

    def answer(self, columns: dict[str, Sequence[Any]]) -> Answer:
        """Answer rows given by column, already checked against the signature.

        Raises Problem 500 when the model's numbers are not finite.
        """
        started, begun = time.perf_counter(), self._clock()
        architecture = self.architecture
        rows = len(next(iter(columns.values())))
        numeric = np.empty((len(architecture.numeric), rows), np.float64)
        for k, name in enumerate(architecture.numeric):
            numeric[k] = columns[name]
        numeric = ((numeric - self._shift) / self._scale).astype(np.float32)
        indexes = np.empty((len(architecture.categorical), rows), np.int64)
        for k, name in enumerate(architecture.categorical):
            indexes[k] = self._encoders[k](columns[name])
        with torch.inference_mode():
            raw = self.network.forward(
                torch.from_numpy(numeric.T).to(self.device), torch.from_numpy(indexes).to(self.device)
            )
            output, score = self._decide(raw)
        if not np.isfinite(output if score is None else score).all():
            raise Problem(500, "not-finite", f"Version {self.version} gave a number that is not finite.")
        elapsed = (time.perf_counter() - started) * 1000
        self.row_ms += 0.1 * ((self._clock() - begun) * 1000 / rows - self.row_ms)
        inputs: dict[str, NDArray[Any]] = dict(zip(architecture.numeric, numeric, strict=True))
        inputs |= dict(zip(architecture.categorical, indexes.astype(np.int32), strict=True))
        return Answer(self._outputs(output, score), output, score, inputs, elapsed)

    def _decide(self, raw: torch.Tensor) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        head = self.architecture.head
        if head.type == "regression":
            return raw[:, 0].cpu().numpy().astype(np.float64), None
        if head.type == "binary":
            score = torch.sigmoid(raw[:, 0]).cpu().numpy()
            return (score >= head.threshold).astype(np.int64), score
        best, position = torch.softmax(raw, 1).max(1)
        return np.array(head.classes, np.int64)[position.cpu().numpy()], best.cpu().numpy()

    def _outputs(self, output: NDArray[Any], score: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        values = [output] if score is None else [output, score]
        return [
            {"name": name, "shape": [len(data)], "datatype": datatype, "data": data.tolist()}
            for (name, datatype), data in zip(self.architecture.head.outputs().items(), values, strict=True)
        ]


def check_columns(signature: Manifest, request: Any) -> dict[str, Sequence[Any]]:
    """The columns of an Open Inference Protocol request, checked against a version's signature.

    Raises Problem 400 naming the field that is at fault.
    """
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list):
        raise Problem(400, "bad-request", "The request must be an object with the list 'inputs'.", field="inputs")
    columns: dict[str, Sequence[Any]] = {}
    rows: int | None = None
    for item in inputs:
        name, data = _check_input(signature, item, rows)
        if name in columns:
            raise Problem(400, "bad-input", f"The input {name} is given twice.", field=name)
        columns[name] = data
        rows = len(data)
    for name in signature.inputs:
        if name not in columns:
            raise Problem(400, "missing-input", f"The input {name} is missing.", field=name)
    return columns


def _check_input(signature: Manifest, item: Any, rows: int | None) -> tuple[str, list[Any]]:
    name = item.get("name") if isinstance(item, dict) else None
    datatype = signature.inputs.get(name) if isinstance(name, str) else None
    if not isinstance(name, str) or datatype is None:
        raise Problem(400, "unknown-input", f"The model has no input {name!r}.", field=str(name))
    data = item.get("data")
    if item.get("datatype") not in ACCEPTED[datatype]:
        raise Problem(400, "bad-input", f"The input {name} must have the datatype {datatype}.", field=name)
    if not isinstance(data, list) or not data or item.get("shape") != [len(data)]:
        raise Problem(400, "bad-input", f"The input {name} must have the shape [n] and n values, n > 0.", field=name)
    if rows is not None and len(data) != rows:
        raise Problem(400, "bad-input", f"The input {name} has {len(data)} rows, the others {rows}.", field=name)
    kinds = set(map(type, data))
    if datatype in INTEGERS:
        low, high = RANGES[datatype]
        fits = kinds == {int} and low <= min(data) and max(data) <= high
    elif datatype == "BYTES":
        fits = kinds == {str}
    else:
        fits = kinds <= {int, float} and all(-LARGEST[datatype] <= value <= LARGEST[datatype] for value in data)
    if not fits:
        raise Problem(400, "bad-input", f"The input {name} has a value that is not a finite {datatype}.", field=name)
    return name, data
