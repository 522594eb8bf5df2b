"""A trained network as the registry takes it: manifest, files by digest, profile, golden test, holdout, model card."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rfc8785

from demo.census import CATEGORICAL, FEATURES, NUMERIC, People
from demo.training import Network, predict
from monitoring.drift.importance import shuffling, weights_of
from monitoring.drift.profile import build_profile

MODEL = "employment"
THRESHOLD = 0.5
GOLDEN_ROWS = 64
HOLDOUT_ROWS = 5000
IMPORTANCE_ROWS = 4000
"""Training rows, evenly spaced, that are shuffled to learn what each input is worth to the model."""
GOLDEN_TOLERANCE = "0.0005"


@dataclass(frozen=True)
class Package:
    """Everything that `register_version` asks for; `files` maps SHA-256 to bytes."""

    manifest: bytes
    files: dict[str, bytes]
    profile: bytes
    golden: bytes
    holdout: bytes
    metrics: dict[str, Any]
    hyperparameters: dict[str, Any]
    documentation: str
    training_data_digest: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()


def package(
    network: Network, training: People, holdout: People, *, years: str, hyperparameters: dict[str, Any]
) -> Package:
    """Measure the network on its holdout and write its artifacts.

    `training` and `holdout` are written in the codebook that the network was trained with, so the profile, the golden
    test and the figures are what an honest owner of that extract would hand in.
    """
    from safetensors.torch import save

    components = {
        "weights": ("weights.safetensors", save(network.tensors)),
        "preprocessing": ("preprocessing.json", rfc8785.dumps(network.preprocessing)),
        "config": ("architecture.json", rfc8785.dumps(network.architecture)),
    }
    files = {_sha256(data): data for _, data in components.values()}
    manifest = {
        "format": "lastgood-manifest/1",
        "model": MODEL,
        "components": {
            name: [{"path": path, "sha256": _sha256(data), "size": len(data)}]
            for name, (path, data) in components.items()
        },
        "signature": {
            "inputs": [{"name": name, "datatype": "INT64"} for name in FEATURES],
            "outputs": [{"name": "employed", "datatype": "INT64"}, {"name": "score", "datatype": "FP32"}],
        },
    }
    score = predict(network, holdout)
    correct = int(((score >= THRESHOLD) == holdout.label).sum())
    accuracy = round(correct / len(holdout), 6)
    return Package(
        manifest=rfc8785.dumps(manifest),
        files=files,
        profile=rfc8785.dumps(_profile(network, training)),
        golden=rfc8785.dumps(_golden(network, holdout)),
        holdout=_parquet(holdout),
        metrics={"holdout": {"accuracy": accuracy, "rows": len(holdout), "correct": correct}},
        hyperparameters=hyperparameters,
        documentation=_card(years, len(training), len(holdout), accuracy),
        training_data_digest=_digest_of(training),
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _profile(network: Network, training: People) -> dict[str, Any]:
    """The inputs as the extract writes them, and what the network answers for them."""
    kinds = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORICAL, "categorical")
    score = predict(network, training)
    outputs = {"output": (score >= THRESHOLD).astype(np.int64), "score": score.astype(np.float32)}
    profile = build_profile(training.features, kinds)
    some = training.take(np.linspace(0, len(training) - 1, IMPORTANCE_ROWS).astype(np.int64))
    shuffled = shuffling(
        lambda columns: predict(network, People(columns, some.label)) >= THRESHOLD, some.features, some.label, repeats=1
    )
    profile["importance"] = {"weights": weights_of({name: shuffled.loss_of(name) for name in FEATURES})}
    profile["outputs"] = build_profile(outputs, {"output": "categorical", "score": "numeric"})["columns"]
    return profile


def _golden(network: Network, holdout: People) -> dict[str, Any]:
    """Rows whose score is not within a hair of the threshold, so that rounding can't flip an answer."""
    score = predict(network, holdout)
    clear = np.flatnonzero(np.abs(score - THRESHOLD) > 0.01)[:GOLDEN_ROWS]
    rows = holdout.take(clear)
    return {
        "format": "lastgood-golden/1",
        "inputs": {name: rows.features[name].tolist() for name in FEATURES},
        "outputs": {
            "employed": (score[clear] >= THRESHOLD).astype(int).tolist(),
            "score": [f"{value:.6f}" for value in score[clear]],
        },
        "tolerance": GOLDEN_TOLERANCE,
    }


def _parquet(holdout: People) -> bytes:
    rows = holdout.take(np.arange(min(HOLDOUT_ROWS, len(holdout))))
    columns = {name: pa.array(rows.features[name]) for name in FEATURES} | {"label": pa.array(rows.label)}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def _digest_of(training: People) -> str:
    """SHA-256 over the training extract's columns, in order, as little-endian int64."""
    state = hashlib.sha256()
    for name in FEATURES:
        state.update(name.encode() + b"\0" + training.features[name].astype("<i8").tobytes())
    state.update(training.label.astype("<i8").tobytes())
    return state.hexdigest()


def _card(years: str, training_rows: int, holdout_rows: int, accuracy: float) -> str:
    return f"""# Employment model

Predicts whether a person is employed, from the American Community Survey's answers. Who is predicted not to be
employed gets a letter that offers job support: an error is a person wrongly written to, or wrongly passed over.

- **Data**: Massachusetts, survey years {years}; {training_rows:,} persons to learn from, {holdout_rows:,} held out.
- **Model**: multilayer perceptron over the standardised age and embedded codes.
- **Quality**: {accuracy:.1%} right on the held-out persons.
- **Not for**: decisions that take something away from a person; other states; years far from the training years.
- **Groups to watch**: disability (DIS), sex (SEX), race (RAC1P), age.
"""
