"""Composing a version of two others: what is taken, what is refused, and that the same wish is the same version."""

import datetime
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from audit.canonical import canonical_bytes
from registry import actions, store, tensors
from registry.actions.known import stored_artifact
from registry.composing import part_of, part_sentence, wish_for
from registry.due import compositions
from registry.models import Composition, Model, Version
from tests.host import artifacts
from tests.registry.world import ALICE, events, golden_bytes, make_registered_model, register

pytestmark = pytest.mark.django_db


class World:
    """Version 1 reads ages in years, version 2 in months; they have other weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: Model = make_registered_model()
        self.one = self.version(1)
        self.two = self.version(2, steps=artifacts.preprocessing(486.0, 243.0))

    def version(self, seed: int, steps: Any = None, config: Any = None, dtype: str = "float32") -> Version:
        config = config or artifacts.architecture()
        made = artifacts.pack(
            self.folder / f"v{seed}",
            "toy",
            artifacts.weights_bytes(artifacts.make_tensors(config, seed, dtype)),
            steps or artifacts.preprocessing(),
            config,
            artifacts.signature(config),
        )
        golden = golden_bytes() if config["head"]["output"] == "label" else None
        return register(self.model, made, golden=golden)

    def composed(self, kind: str, *patterns: str, base: Version | None = None, other: Version | None = None) -> Any:
        asked = actions.ask_composition(
            base=base or self.two, other=other or self.one, kind=kind, patterns=patterns, actor=ALICE
        )
        actions.compose(composition_id=asked.pk)
        asked.refresh_from_db()
        return asked


@pytest.fixture
def world(settings: Any, tmp_path: Path) -> World:
    settings.LASTGOOD_VAR = tmp_path / "var"
    return World(tmp_path)


def digests(version: Version) -> dict[str, str]:
    return dict(version.files.values_list("component", "artifact_id"))


def test_the_preprocessing_of_another_version_is_taken_whole(world: World) -> None:
    # when
    made = world.composed("preprocessing")

    # then
    assert (made.state, made.reason) == ("done", "")
    version = made.version
    assert version.number == 3
    assert digests(version) == digests(world.two) | {"preprocessing": digests(world.one)["preprocessing"]}
    assert hashlib.sha256(bytes(version.manifest)).hexdigest() == version.digest
    assert {(line.parent_id, line.kind) for line in version.parents.all()} == {
        (world.one.pk, "composed"),
        (world.two.pk, "composed"),
    }
    assert version.golden is None
    assert part_of(version) == {
        "kind": "preprocessing",
        "base": world.two.digest,
        "parts": [{"component": "preprocessing", "from": world.one.digest, "tensors": []}],
    }
    assert part_sentence(version) == "Version 2 with the preprocessing of version 1."
    [event] = events("version.compose")
    assert event["data"]["digest"] == version.digest
    assert (event["data"]["base"], event["data"]["other"]) == (world.two.digest, world.one.digest)
    assert part_of(world.one) is None


def test_named_layers_are_taken_tensor_by_tensor_and_the_file_is_one_that_safetensors_would_write(world: World) -> None:
    from safetensors.torch import load, save

    # when
    made = world.composed("layers", "layers.0.*", "embeddings.COLOR.weight")

    # then
    assert made.tensors == ["embeddings.COLOR.weight", "layers.0.bias", "layers.0.weight"]
    written = store.path(digests(made.version)["weights"]).read_bytes()
    first, second = (load(store.path(digests(version)["weights"]).read_bytes()) for version in (world.one, world.two))
    expected = second | {name: first[name] for name in made.tensors}
    assert written == save(expected)
    changed = {
        row.name for row in tensors.differences(*(store.path(digests(v)["weights"]) for v in (world.two, made.version)))
        if row.change == "changed"
    }  # fmt: skip
    assert changed == set(made.tensors)
    assert part_of(made.version)["parts"][0]["component"] == "weights"
    assert part_sentence(made.version) == "Version 2 with 3 tensors of version 1."


def test_an_adapter_is_taken_or_left_out_as_the_other_version_has_it(world: World) -> None:
    # given
    three = adapted(world, rank=2, out=8)
    wrong = adapted(world, rank=2, out=4)

    # when
    taken = world.composed("adapter", base=world.two, other=three)
    left_out = world.composed("adapter", base=taken.version, other=world.one)
    unfit = world.composed("adapter", base=world.two, other=wrong)

    # then
    assert digests(taken.version) == digests(world.two) | {"adapter": digests(three)["adapter"]}
    assert left_out.version == world.two
    assert (unfit.state, unfit.reason) == (
        "refused",
        "The adapter of version 4 changes layers.0, which is no linear layer of that size in the architecture of "
        "version 2.",
    )


def adapted(world: World, *, rank: int, out: int) -> Version:
    """Version 1 with an adapter of its first linear layer."""
    import torch
    from safetensors.torch import save

    tensors = {"layers.0.down": torch.ones(rank, 6), "layers.0.up": torch.ones(out, rank)}
    data = save(tensors, {"format": "lastgood-adapter/1"})
    manifest = json.loads(bytes(world.one.manifest))
    sha256 = hashlib.sha256(data).hexdigest()
    manifest["components"]["adapter"] = [{"path": "adapter.safetensors", "sha256": sha256, "size": len(data)}]
    return register(world.model, (canonical_bytes(manifest), {sha256: data}))


def test_the_same_wish_is_the_same_version(world: World) -> None:
    first = world.composed("layers", "layers.*")
    again = world.composed("layers", "layers.0.*", "layers.3.*")

    assert again.pk == first.pk
    assert Version.objects.count() == 3
    assert [len(events(name)) for name in ("version.compose.order", "version.compose")] == [1, 1]


def test_what_is_another_version_already_is_that_version(world: World) -> None:
    three = world.version(1, steps=artifacts.preprocessing(486.0, 243.0))

    made = world.composed("layers", "*", base=world.two, other=world.one)

    assert made.version == three
    assert part_of(three) is None


def test_a_wish_is_refused_with_the_first_thing_that_is_wrong(world: World) -> None:
    wide = artifacts.architecture(
        ({"type": "linear", "in": 6, "out": 16}, {"type": "relu"}, {"type": "linear", "in": 16, "out": 1})
    )
    three = world.version(3, config=wide)
    half = world.version(4, dtype="float16")
    table = [
        (world.two, world.two, "config", (), "Choose two different versions"),
        (world.two, world.one, "everything", (), "There is no part 'everything'"),
        (world.two, world.one, "config", (), "Version 2 and version 1 have the same config."),
        (world.two, world.one, "adapter", (), "Version 1 has no adapter."),
        (world.two, world.one, "layers", (), "Name the layers to take"),
        (world.two, world.one, "layers", ("layers.9.*",), "No tensor of version 2 is named by 'layers.9.*'."),
        (world.two, three, "layers", ("layers.0.*",), "The tensor 'layers.0.bias' has the shape [8] in one file"),
        (world.two, half, "layers", ("layers.0.bias",), "The tensor 'layers.0.bias' is F32 in one file and F16"),
        (world.two, three, "layers", ("layers.3.*",), "The tensor 'layers.3.bias' is in one of the two files only."),
    ]

    for base, other, kind, patterns, sentence in table:
        with pytest.raises(actions.RegistryError) as refused:
            wish_for(base=base, other=other, kind=kind, patterns=patterns)
        assert str(refused.value).startswith(sentence)
    assert not Composition.objects.exists()


def test_versions_of_other_signatures_exchange_no_parts(world: World) -> None:
    config = artifacts.architecture(head=artifacts.BINARY | {"output": "verdict"})
    three = world.version(3, config=config)

    with pytest.raises(actions.RegistryError, match="Version 2 gives label as INT64, version 3 as nothing"):
        wish_for(base=world.two, other=three, kind="preprocessing")


def test_parts_that_do_not_fit_together_are_refused_by_the_worker_in_a_sentence(world: World) -> None:
    steps = artifacts.preprocessing()
    steps["categorical"][0]["codes"] = [1, 2, 3, 4]
    config = artifacts.architecture()
    config["embeddings"]["COLOR"]["rows"] = 5
    three = world.version(3, steps=steps, config=config)

    more_codes = world.composed("preprocessing", other=three)
    other_shape = world.composed("config", other=three)

    assert (more_codes.state, more_codes.version) == ("refused", None)
    assert more_codes.reason == (
        "The preprocessing of version 3 maps 4 codes of COLOR and the unknown one, "
        "but the architecture of version 2 has only 4 rows for them."
    )
    assert other_shape.reason == (
        "The architecture of version 3 declares embeddings.COLOR.weight as 5 × 3, "
        "but the weights of version 2 hold it as 4 × 3."
    )
    assert Version.objects.count() == 3
    assert [event["outcome"] for event in events("version.compose")] == ["failed", "failed"]


def test_what_was_refused_is_tried_anew_when_it_is_asked_for_again(world: World) -> None:
    weights = store.path(digests(world.one)["weights"])
    whole = weights.read_bytes()
    asked = actions.ask_composition(
        base=world.two, other=world.one, kind="layers", patterns=("layers.0.bias",), actor=ALICE
    )
    weights.chmod(0o644)
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")

    actions.compose(composition_id=asked.pk)
    asked.refresh_from_db()
    assert "is damaged" in asked.reason
    weights.write_bytes(whole)

    assert world.composed("layers", "layers.0.bias").state == "done"


def test_a_worker_that_was_lost_is_followed_by_another_three_times_at_most(world: World) -> None:
    asked = actions.ask_composition(base=world.two, other=world.one, kind="preprocessing", actor=ALICE)
    assert compositions(timezone.now()) == [asked.pk]
    Composition.objects.update(due_at=timezone.now() + datetime.timedelta(minutes=5))
    assert (compositions(timezone.now()), actions.compose(composition_id=asked.pk)) == ([], False)

    Composition.objects.update(due_at=timezone.now() - datetime.timedelta(seconds=1), attempts=3)
    assert actions.compose(composition_id=asked.pk) is True

    asked.refresh_from_db()
    assert (asked.state, asked.reason) == ("refused", "It did not come to an end in three attempts.")


def test_only_a_composed_version_is_given_a_golden_test_and_only_once(world: World) -> None:
    version = world.composed("preprocessing").version
    figures = {"rehearsal": {"hosts": ["gpu-a"]}, "holdout": {"accuracy": 0.75}}

    actions.record_rehearsal(version=version, golden=golden_bytes(), metrics=figures, actor=ALICE)

    assert version.metrics == figures
    with store.open_verified(version.golden_id) as file:
        assert json.loads(file.read())["outputs"]["label"] == [1, 1]
    [event] = events("version.rehearse")
    assert event["data"]["metrics"]["holdout"] == {"accuracy": "0.75"}
    for again in (version, world.one):
        with pytest.raises(actions.RegistryError):
            actions.record_rehearsal(version=again, golden=golden_bytes(), metrics={}, actor=ALICE)
    assert len(events("version.rehearse")) == 1


@pytest.mark.parametrize("held_out", [True, False])
def test_the_importance_of_another_network_is_left_behind_where_it_can_be_measured(
    world: World, held_out: bool
) -> None:
    # given
    profile = {"format": "lastgood-profile/1", "rows": 1, "columns": {}, "importance": {"weights": {"AGE": 1}}}
    reader = Version.objects.get(pk=world.one.pk)
    reader.profile = stored_artifact(canonical_bytes(profile), "application/json")
    if held_out:
        sink = io.BytesIO()
        pq.write_table(pa.table({"AGE": [30], "COLOR": [1], "SHAPE": [0], "label": [1]}), sink)
        reader.holdout = stored_artifact(sink.getvalue(), "application/vnd.apache.parquet")
    reader.save()

    # when
    version = world.composed("preprocessing", other=reader).version

    # then
    with store.open_verified(version.profile_id) as file:
        kept = json.loads(file.read())
    assert ("importance" in kept, version.holdout_id) == (not held_out, reader.holdout_id)
