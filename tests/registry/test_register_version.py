"""Registering a version: every digest is computed anew, every file is looked at by content."""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rfc8785

from registry import actions, store
from registry.models import Artifact, Model, Version
from registry.serving_access import blobs_of
from tests.host.artifacts import digest_of, make_model
from tests.registry.world import ALICE, Made, events, golden_bytes, make_registered_model, make_version, register

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _store_of_its_own(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"


@pytest.fixture
def model() -> Model:
    return make_registered_model()


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_model(tmp_path / "made", 1)


def changed(made: Made, folder: Path, component: str, data: bytes, path: str | None = None) -> Made:
    """The version with one component's file replaced, digests and all."""
    manifest = json.loads(made[0])
    sha256 = hashlib.sha256(data).hexdigest()
    [old] = manifest["components"][component]
    manifest["components"][component] = [{"path": path or old["path"], "sha256": sha256, "size": len(data)}]
    (folder / sha256).write_bytes(data)
    blobs = {key: value for key, value in made[1].items() if key != old["sha256"]} | {sha256: folder / sha256}
    return rfc8785.dumps(manifest), blobs


def holdout(*columns: str, rows: int = 3) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({name: list(range(rows)) for name in columns}), sink)
    return sink.getvalue()


def refused(error: type[Exception], match: str, model: Model, made: Made, **more: Any) -> None:
    """The registration fails with that sentence, and nothing is registered or recorded."""
    with pytest.raises(error, match=match):
        register(model, made, **more)
    assert not Version.objects.exists()
    assert not Artifact.objects.exists()
    assert events("version.register") == []


def test_a_version_is_identified_by_its_manifests_digest_and_numbered_in_order(model: Model, tmp_path: Path) -> None:
    first, (manifest, _) = make_version(model, tmp_path, seed=1)
    second, _ = make_version(model, tmp_path, seed=2, parents=[(first, "retrained")])

    assert (first.number, second.number) == (1, 2)
    assert first.digest == digest_of(manifest)
    assert bytes(first.manifest) == manifest
    assert [(line.parent, line.kind) for line in second.parents.all()] == [(first, "retrained")]
    recorded = events("version.register")
    assert [event["data"]["number"] for event in recorded] == [1, 2]
    assert recorded[1]["data"]["parents"] == [f"retrained {first.digest}"]
    assert recorded[0]["target"] == {"kind": "version", "id": "toy/1", "version": first.digest}


def test_all_files_are_stored_under_their_digests(model: Model, made: Made) -> None:
    golden = golden_bytes()
    version = register(model, made, golden=golden, holdout=holdout("AGE", "COLOR", "SHAPE", "label"))

    assert blobs_of(version) == {sha256: store.path(sha256) for sha256 in made[1]}
    for sha256 in [*made[1], version.golden_id, version.holdout_id]:
        with store.open_verified(sha256) as file:
            assert hashlib.sha256(file.read()).hexdigest() == sha256
    assert {row.component for row in version.files.all()} == {"weights", "preprocessing", "config"}


def test_files_may_be_given_as_bytes_or_lie_in_the_store_already(model: Model, made: Made) -> None:
    held, *rest = made[1]
    store.put_file(made[1][held])

    version = register(model, (made[0], {sha256: made[1][sha256].read_bytes() for sha256 in rest}))

    assert version.files.count() == 3


def test_the_same_manifest_is_registered_once(model: Model, made: Made) -> None:
    register(model, made)

    with pytest.raises(actions.AlreadyThere, match="registered already, as version 1 of toy"):
        register(model, made)

    assert Version.objects.count() == 1
    assert len(events("version.register")) == 1


def test_a_manifest_of_another_model_is_refused(model: Model, tmp_path: Path) -> None:
    refused(ValueError, "of the model other, not of toy", model, make_model(tmp_path / "made", 1, model="other"))


def test_a_file_that_is_not_what_the_manifest_says_is_refused(model: Model, made: Made) -> None:
    made[1][next(iter(made[1]))].write_bytes(b"something else")

    refused(actions.RegistryError, "is not what the manifest says", model, made)


def test_a_missing_file_is_refused_by_name(model: Model, made: Made) -> None:
    weights = json.loads(made[0])["components"]["weights"][0]["sha256"]
    del made[1][weights]

    refused(actions.RegistryError, r"weights.safetensors .* is missing", model, made)


def test_a_file_that_the_manifest_does_not_name_is_refused(model: Model, made: Made, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.write_bytes(b"extra")
    made[1][hashlib.sha256(b"extra").hexdigest()] = extra

    refused(actions.RegistryError, "does not name the file", model, made)


def test_a_wrong_size_is_refused(model: Model, made: Made) -> None:
    manifest = json.loads(made[0])
    manifest["components"]["config"][0]["size"] += 1

    refused(actions.RegistryError, "architecture.json has", model, (rfc8785.dumps(manifest), made[1]))


@pytest.mark.parametrize(
    "content", [pickle.dumps({"weights": [1.0]}, protocol=4), b"PK\x03\x04 a torch.save archive"], ids=["pickle", "zip"]
)
def test_a_pickle_is_refused_by_content_under_any_name(
    model: Model, made: Made, tmp_path: Path, content: bytes
) -> None:
    refused(ValueError, "pickle or a torch.save archive", model, changed(made, tmp_path, "weights", content))


def test_another_engines_artifact_is_taken_unopened(model: Model, made: Made, tmp_path: Path) -> None:
    made = changed(made, tmp_path, "weights", pickle.dumps([1.0], protocol=4), path="model.mar")

    version = register(model, made, environment={"engine": "torchserve"})

    weights = version.files.get(component="weights")
    assert weights.artifact.media_type == "application/x-python-pickle"


def test_weights_with_a_broken_safetensors_header_are_refused(model: Model, made: Made, tmp_path: Path) -> None:
    broken = (2).to_bytes(8, "little") + b"{]" + b"\x00" * 8

    refused(ValueError, "is not a safetensors file", model, changed(made, tmp_path, "weights", broken))


def test_an_unknown_vocabulary_is_refused(model: Model, made: Made, tmp_path: Path) -> None:
    made = changed(made, tmp_path, "preprocessing", b'{"format":"pandas/1"}')

    refused(ValueError, "must be lastgood-preprocessing/1", model, made)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda m: m.update(version=2), "must have exactly"),
        (lambda m: m.update(format="other/1"), "format must be"),
        (lambda m: m["components"]["config"][0].update(path="../x"), "not a file's name"),
        (lambda m: m["components"]["config"][0].update(sha256="ABC"), "no SHA-256"),
        (lambda m: m["components"].update(config=[]), "must list its files"),
        (lambda m: m["signature"]["inputs"][0].update(datatype="INT7"), "INT7"),
        (lambda m: m["signature"]["inputs"].append(m["signature"]["inputs"][0]), "a column twice"),
    ],
)
def test_a_manifest_outside_of_the_format_is_refused(model: Model, made: Made, edit: Any, said: str) -> None:
    manifest = json.loads(made[0])
    edit(manifest)

    refused(ValueError, said, model, (rfc8785.dumps(manifest), made[1]))


def test_a_manifest_that_is_not_canonical_is_refused(model: Model, made: Made) -> None:
    refused(ValueError, "not in canonical form", model, (json.dumps(json.loads(made[0])).encode(), made[1]))


@pytest.mark.parametrize(
    ("golden", "said"),
    [
        (b"{", "not JSON"),
        (golden_bytes().replace(b"AGE", b"AGEP"), "exactly the inputs AGE, COLOR, SHAPE"),
        (golden_bytes().replace(b'"label"', b'"class"'), "outputs among label, score"),
        (golden_bytes().replace(b"[30, 40]", b"[30]"), "lists of one length"),
        (golden_bytes(tolerance="-1"), "negative"),
        (golden_bytes(tolerance="much"), "not a decimal"),
        (golden_bytes(score="NaN"), "not a decimal"),
    ],
)
def test_a_golden_test_that_could_not_be_asked_is_refused(model: Model, made: Made, golden: bytes, said: str) -> None:
    refused(ValueError, said, model, made, golden=golden)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"not parquet", "not Parquet"),
        (holdout("AGE", "label"), "lacks the columns COLOR, SHAPE"),
        (holdout("AGE", "COLOR", "SHAPE", "label", rows=0), "has no rows"),
    ],
)
def test_a_holdout_set_that_could_not_be_used_is_refused(model: Model, made: Made, data: bytes, said: str) -> None:
    refused(ValueError, said, model, made, holdout=data)


def test_a_profile_in_another_format_is_refused(model: Model, made: Made) -> None:
    refused(ValueError, "must have the format lastgood-profile/1", model, made, profile=b'{"format":"x"}')


@pytest.mark.parametrize("importance", ['{"weights":{"AGE":null}}', '{"weights":{"AGE":1.5}}', '{"weights":[]}', "1"])
def test_a_profile_whose_importance_is_no_share_is_refused(model: Model, made: Made, importance: str) -> None:
    profile = f'{{"format":"lastgood-profile/1","columns":{{}},"importance":{importance}}}'.encode()
    refused(ValueError, "a number from 0 to 1 for each column", model, made, profile=profile)


def test_an_unknown_kind_of_descent_is_refused_and_leaves_no_version(model: Model, tmp_path: Path) -> None:
    parent, _ = make_version(model, tmp_path, seed=1)

    with pytest.raises(actions.RegistryError, match="no kind of descent"):
        actions.register_version(
            model=model,
            manifest=(made := make_model(tmp_path / "second", 2))[0],
            files=made[1],
            parents=[(parent, "cloned")],
            actor=ALICE,
        )

    assert Version.objects.count() == 1
