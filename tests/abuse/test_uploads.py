"""Files made to run code, to fill memory or disk, or to lie elsewhere than where they seem to."""

import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from audit.models import AuditEvent
from monitoring.models import DeliveryState, PredictionBatch
from registry import content, store
from registry.api import BlobView
from registry.models import Version
from tests.api.programs import Program, anybody, problem_of
from tests.host.artifacts import make_model
from tests.monitoring.world import answers, make_endpoint, part, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def program(settings: Any, tmp_path: Path) -> Program:
    settings.LASTGOOD_VAR = tmp_path / "var"
    return anybody()


def put(program: Program, data: bytes, name: str = "") -> Any:
    name = name or hashlib.sha256(data).hexdigest()
    return program.client.generic("PUT", f"/api/v1/blobs/{name}/", data, content_type="application/octet-stream")


def kept(settings: Any) -> list[Path]:
    return [path for path in Path(settings.LASTGOOD_VAR).rglob("*") if path.is_file()]


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle ran')",))


def register_with(program: Program, tmp_path: Path, weights: bytes, path: str = "weights.safetensors") -> Any:
    """Hand in a version that is whole but for its weights."""
    program.ask("POST", "/api/v1/models/", {"slug": "toy", "name": "Toy", "team": "ml"})
    manifest, files = make_model(tmp_path / "made", 1)
    described = json.loads(manifest)
    sha256 = hashlib.sha256(weights).hexdigest()
    described["components"]["weights"] = [{"path": path, "sha256": sha256, "size": len(weights)}]
    for data in [weights, *(file.read_bytes() for file in files.values())]:
        assert put(program, data).status_code in (200, 201)
    return program.ask("POST", "/api/v1/versions/", {"model": "toy", "manifest": described})


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x00" * 100_000)
    return packed.getvalue()


PICKLES = {f"protocol {number}": pickle.dumps(Evil(), protocol=number) for number in range(6)} | {
    "a torch.save archive": zipped("archive/data.pkl", "archive/data/0"),
    "a zip with entries that climb": zipped("../../etc/cron.d/evil"),
    "one that hides behind a harmless value": b"N0" + pickle.dumps(Evil(), protocol=0),
}


@pytest.mark.parametrize("what", PICKLES)
def test_abuse_44_46_a_pickle_is_refused_by_content_whatever_its_name(
    program: Program, tmp_path: Path, what: str
) -> None:
    answer = register_with(program, tmp_path, PICKLES[what])
    assert "is a pickle or a torch.save archive" in problem_of(answer, 422, "refused")["detail"]
    assert not Version.objects.exists()
    assert not AuditEvent.objects.filter(action="version.register").exists()


def test_abuse_46_a_pickle_that_the_scanner_takes_for_none_is_not_taken_either(
    program: Program, tmp_path: Path
) -> None:
    """Without the mark of its version, and behind a text longer than the scanner's look, it runs all the same."""
    hidden = pickle.dumps(["x" * content.LOOK_BYTES, Evil()], 2)[2:]
    with pytest.raises(SystemExit, match="the pickle ran"):
        pickle.loads(hidden)
    answer = register_with(program, tmp_path, hidden)
    assert "is neither safetensors nor JSON" in problem_of(answer, 422, "refused")["detail"]
    assert not Version.objects.exists()


@pytest.mark.parametrize(
    "weights", [b"\x1f\x8b\x08 compressed", b"\x93NUMPY\x01\x00", b"\x7fELF\x02", b"ustar", b"", b"GGUF\x03"]
)
def test_abuse_48_only_safetensors_and_json_are_taken_whatever_the_name_says(
    program: Program, tmp_path: Path, weights: bytes
) -> None:
    answer = register_with(program, tmp_path, weights)
    assert "is neither safetensors nor JSON" in problem_of(answer, 422, "refused")["detail"]
    assert not Version.objects.exists()


def header(value: Any, *, length: int | None = None, body: bytes = b"\x00" * 16) -> bytes:
    text = json.dumps(value).encode() if not isinstance(value, bytes) else value
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(begin: int, end: int, shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2] if shape is None else shape, "data_offsets": [begin, end]}


HEADERS = {
    "a length of 2 to the 63": header({"a": tensor(0, 8)}, length=2**63),
    "a length of 2 to the 64 less one": header({"a": tensor(0, 8)}, length=2**64 - 1),
    "a length beyond the end": header({"a": tensor(0, 16)}, length=5000),
    "offsets that overlap": header({"a": tensor(0, 8), "b": tensor(4, 12)}),
    "offsets beyond the end": header({"a": tensor(0, 2**40, [2**38])}),
    "offsets backwards": header({"a": tensor(8, 0)}),
    "a shape that overflows": header({"a": tensor(0, 16, [2**62, 2**62])}),
    "a negative shape": header({"a": tensor(0, 8, [-2])}),
    "a gap": header({"a": tensor(0, 4, [1]), "b": tensor(8, 16)}),
    "no header": header(b""),
    "nothing but a header": header({}, body=b""),
    "deep nesting": header(b'{"a":' + b"[" * 100_000),
}


@pytest.mark.parametrize("what", HEADERS)
def test_abuse_47_a_safetensors_header_that_lies_is_refused_before_anything_is_allocated(
    program: Program, tmp_path: Path, what: str
) -> None:
    answer = register_with(program, tmp_path, HEADERS[what])
    problem_of(answer, 422, "refused")
    assert not Version.objects.exists()


def test_abuse_47_a_declaration_of_gigabytes_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_JSON_BYTES", 10)
    file = SimpleNamespace(path="config.json", sha256="a", size=11, component="config")
    manifest = SimpleNamespace(files=[file], component=lambda name: [file])
    with pytest.raises(content.ContentRefused, match="longer than 10 bytes"):
        content.check_for_bundled(manifest, {"a": b'{"a":12345}'})  # type: ignore[arg-type]


def test_abuse_41_a_file_beyond_the_limit_is_refused_by_what_it_promises(program: Program, settings: Any) -> None:
    settings.LASTGOOD_BLOB_MAX_BYTES = 1000
    problem_of(put(program, b"x" * 1001), 413, "too-large")
    assert put(program, b"x" * 1000).status_code == 201
    assert len(kept(settings)) == 1


def test_abuse_41_a_file_that_promises_less_than_it_sends_is_cut_off(program: Program, settings: Any) -> None:
    settings.LASTGOOD_BLOB_MAX_BYTES = 3000
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 1000

    with pytest.raises(store.TooLarge, match="at most 3000 bytes"):
        store.put_stream(endless(), "ab" * 32)

    assert len(taken) == 4
    assert kept(settings) == []
    assert BlobView.required_scope == "registry.write"


def test_abuse_41_the_disk_is_not_filled_to_the_brim(
    program: Program, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LASTGOOD_BLOB_SPARE_BYTES = 500
    monkeypatch.setattr(shutil, "disk_usage", lambda where: SimpleNamespace(free=1000))
    assert "no room" in problem_of(put(program, b"x" * 501), 413, "too-large")["detail"]
    assert put(program, b"x" * 400).status_code == 201


def stream(table: pa.Table, codec: str | None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_abuse_49_a_stream_that_would_unpack_to_any_size_is_set_aside(codec: str, dictionary: bool) -> None:
    table = answers(part(2017, 0, 50)).table
    if dictionary:
        encoded = table.column("version").dictionary_encode()
        table = pa.table({"version": encoded})
    delivery = send("predictions", stream(table, codec), make_endpoint())
    assert delivery.state == DeliveryState.UNPARSEABLE
    assert delivery.error.startswith("The Arrow stream is compressed")
    assert not PredictionBatch.objects.exists()


def test_abuse_49_a_stream_as_it_is_and_one_with_a_dictionary_are_read() -> None:
    table = answers(part(2017, 0, 50)).table
    version = table.column("version").dictionary_encode()
    encoded = table.set_column(table.column_names.index("version"), "version", version)
    endpoint = make_endpoint()
    assert send("predictions", stream(table, None), endpoint).rows == 50
    assert send("predictions", stream(encoded, None), endpoint).rows == 50


@pytest.mark.parametrize("cut", [3, 60, 200, 900])
def test_abuse_49_a_stream_cut_anywhere_is_set_aside(cut: int) -> None:
    body = stream(answers(part(2017, 0, 50)).table, None)
    assert send("predictions", body[:cut], make_endpoint()).state == DeliveryState.UNPARSEABLE


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e%252fetc",
        "..%5c..%5cboot.ini",
        "%2e%2e",
        "ab" * 31 + "a%00",
        "AB" * 32,
        "ab" * 32 + "%0a",
        "ab" * 33,
    ],
)
def test_abuse_51_an_artifact_has_no_name_but_its_digest(program: Program, settings: Any, name: str) -> None:
    answer = put(program, b"root::0:0", name)
    assert answer.status_code in (400, 404, 422)
    assert kept(settings) == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..\\x", "x\x00.bin", "%2e%2e", ".hidden", ""])
def test_abuse_51_a_manifest_names_files_and_never_folders(program: Program, tmp_path: Path, path: str) -> None:
    answer = register_with(program, tmp_path, b"weights", path)
    problem_of(answer, answer.status_code)
    assert answer.status_code in (400, 422)
    assert not Version.objects.exists()


def test_abuse_52_a_file_that_was_swapped_after_it_was_checked_is_not_handed_out(program: Program) -> None:
    sha256 = hashlib.sha256(b"weights").hexdigest()
    put(program, b"weights")
    store.path(sha256).write_bytes(b"swapped")
    with pytest.raises(store.ArtifactDamaged, match="is damaged"), store.open_verified(sha256):
        pass
