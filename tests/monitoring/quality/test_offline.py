"""What is carried out here is what a host answers, layer by layer and head by head."""

import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from monitoring.quality.offline import NotCarriedOut, answers
from monitoring.quality.reading import Rows
from monitoring.quality.skew import skew
from registry import store
from registry.models import Version
from tests.host.artifacts import BINARY, architecture, make_model, make_tensors, weights_bytes
from tests.monitoring.world import START

CLASSES = {"type": "multiclass", "classes": [3, 5, 9], "output": "kind", "score": "score"}
NORMED = (
    {"type": "linear", "in": 6, "out": 8}, {"type": "layer_norm", "size": 8}, {"type": "gelu"},
    {"type": "linear", "in": 8, "out": 4}, {"type": "batch_norm", "size": 4}, {"type": "tanh"},
    {"type": "dropout", "p": 0.2}, {"type": "linear", "in": 4, "out": 3}, {"type": "sigmoid"},
)  # fmt: skip


def inputs(rows=200):
    rng = np.random.default_rng(2)
    made = {"AGE": rng.normal(0, 1, rows), "COLOR": rng.integers(0, 4, rows), "SHAPE": rng.integers(0, 3, rows)}
    return {name: values.astype(np.float64) for name, values in made.items()}


def of_a_host(config, tensors, adapter, made):
    """The numbers of the last layer, as the bundled host's network gives them."""
    import torch

    from host.network import Network
    from host.vocabulary import read_architecture

    declared = read_architecture(config, "architecture.json")
    whole = {name: tensor.float() for name, tensor in tensors.items()}
    network = Network(declared, whole, adapter)
    numeric = torch.tensor(made["AGE"][:, None], dtype=torch.float32)
    indexes = torch.tensor(np.stack([made["COLOR"], made["SHAPE"]]), dtype=torch.int64)
    return network.forward(numeric, indexes)


@pytest.mark.parametrize(
    ("layers", "head", "members", "dtype"),
    [
        (None, BINARY, None, "float32"),
        (None, BINARY, 3, "bfloat16"),
        (NORMED, CLASSES, None, "float32"),
        (NORMED, CLASSES, 2, "float16"),
    ],
)
def test_the_answers_are_a_hosts(layers, head, members, dtype, tmp_path):
    import torch

    config = architecture(layers, dict(head), members)
    tensors = make_tensors(config, 5, dtype)
    path = tmp_path / "weights"
    path.write_bytes(weights_bytes(tensors))
    made = inputs()

    found = answers(config, path, None, made)

    raw = of_a_host(config, tensors, {}, made)
    if head["type"] == "binary":
        score = torch.sigmoid(raw[:, 0])
        output = (score >= head["threshold"]).long()
    else:
        score, place = torch.softmax(raw, 1).max(1)
        output = torch.tensor(head["classes"])[place]
    assert found["score"] == pytest.approx(score.numpy(), abs=1e-6)
    assert (found["output"] == output.numpy()).all()


def test_an_adapter_is_added_and_a_regressions_number_is_told_as_it_is(tmp_path):
    import torch

    config = architecture(None, {"type": "regression", "output": "price"})
    tensors = make_tensors(config, 5)
    adapter = {"layers.0.down": torch.rand(2, 6), "layers.0.up": torch.rand(8, 2)}
    for name, content in (("weights", tensors), ("adapter", adapter)):
        (tmp_path / name).write_bytes(weights_bytes(content))
    made = inputs()

    found = answers(config, tmp_path / "weights", tmp_path / "adapter", made)

    assert list(found) == ["output"]
    assert found["output"] == pytest.approx(of_a_host(config, tensors, adapter, made)[:, 0].numpy(), abs=1e-5)


def test_what_is_not_known_is_not_carried_out(tmp_path):
    config = architecture()
    (tmp_path / "weights").write_bytes(weights_bytes(make_tensors(config, 5)))
    config["layers"][1] = {"type": "swish"}

    with pytest.raises(NotCarriedOut, match="layer of the type swish"):
        answers(config, tmp_path / "weights", None, inputs())


@pytest.fixture
def version(settings, tmp_path):
    settings.LASTGOOD_VAR = tmp_path
    manifest, blobs = make_model(tmp_path / "made", 5)
    for path in blobs.values():
        store.put_bytes(path.read_bytes())
    return Version(number=4, manifest=manifest)


def served(version, change=lambda columns: None):
    """Rows that a host of that version answered, as it logs them but for the inputs as read."""
    components = json.loads(version.manifest)["components"]
    config = json.loads(store.path(components["config"][0]["sha256"]).read_bytes())
    columns = {"AGE": np.arange(20.0, 60.0), "COLOR": np.resize([1, 2, 3, 7], 40), "SHAPE": np.resize([0, 5], 40)}
    made = {
        "AGE": (columns["AGE"] - 40.5) / 20.25,
        "COLOR": np.where(columns["COLOR"] == 7, 0, columns["COLOR"]).astype(float),
        "SHAPE": np.where(columns["SHAPE"] == 0, 1.0, 2.0),
    }
    found = answers(config, store.path(components["weights"][0]["sha256"]), None, made)
    logged = {"output": found["output"].astype(np.int64), "score": found["score"].astype(np.float32)}
    change(logged)
    table = pa.table({f"feature.{name}": values for name, values in columns.items()} | logged)
    return Rows(table, START, START + timedelta(minutes=1), 0)


def test_answers_that_are_those_of_the_versions_files_show_no_skew(version):
    found = skew(served(version), "4", version, version)

    assert "nothing can be held" in found.sentence
    assert found.first_of_all is None
    assert found.answers_sentence == (
        "The newest 40 answers are what the files of version 4 make of the same inputs, computed once more without the "
        "host."
    )


def test_a_score_that_is_served_otherwise_is_the_first_column_that_differs(version):
    def change(logged):
        logged["score"][10:] = 0.123

    found = skew(served(version, change), "4", version, version)

    assert (found.first_of_all.column, found.first_of_all.other, found.first_of_all.n) == ("score", 30, 40)
    assert "score is the first column of the answers that differs from what the files of version 4 make" in (
        found.answers_sentence
    )
    assert "30 of 40 rows, such as 0.123, where they make 0." in found.answers_sentence


def test_an_answer_that_is_served_otherwise_than_its_score_says_is_named(version):
    def change(logged):
        logged["output"][3] = 1 - logged["output"][3]

    found = skew(served(version, change), "4", version, version)

    assert [(one.column, one.other) for one in found.answers] == [("score", 0), ("output", 1)]
    assert found.first_of_all.column == "output"


def test_a_version_whose_files_do_not_answer_here_is_told(version):
    rows = served(version)
    absent = Rows(rows.table.drop_columns(["feature.COLOR"]), rows.since, rows.until, 0)

    assert "the prediction log holds no input COLOR" in skew(absent, "4", version, version).answers_sentence
    assert "is not registered" in skew(rows, "9", version, None).answers_sentence
    bare = Version(number=5, manifest=b"{}")
    assert "declares no preprocessing and network" in skew(rows, "5", version, bare).answers_sentence
