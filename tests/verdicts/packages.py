"""Versions of the demo's model that went wrong on their way: trained ones, and what bad hands make of an honest one."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import rfc8785

from demo.artifacts import GOLDEN_ROWS, GOLDEN_TOLERANCE, Package, package
from demo.build import CODEBOOK, MEMBERS
from demo.census import FEATURES, People, people, split, written_in
from demo.training import Network, predict, train
from tests.demo.story import network_of

LEARNT = 30_000
"""People whom the networks learn from: enough for the demo's faults to show, in half of its time."""


class Packages:
    """By name: `first`, `none`, `recode`, `scale`, `slow`, `mislabelled` (trained), `corrupted`, `wrong`, `quantised`,
    `config`, each made once."""

    def __init__(self) -> None:
        self.made: dict[str, Package] = {}

    def __call__(self, name: str) -> Package:
        if name not in self.made:
            self.made[name] = self._make(name)
        return self.made[name]

    def _make(self, name: str) -> Package:
        if name == "first":
            return trained((2015,), 1, "none")
        if name in CODEBOOK:
            return trained((2015, 2016), 2, name)
        if name == "mislabelled":
            return trained((2015, 2016), 2, "none", labelled=young_men_turned_round)
        return {"corrupted": corrupted, "wrong": wrong, "quantised": quantised, "config": config}[name](self("none"))


def as_surveyed(group: People) -> People:
    return group


def young_men_turned_round(group: People) -> People:
    """A join by which men below 45 got the answer of somebody who does not work where they do, and the other way round:
    in what is learnt from, and in the holdout by which it was promised."""
    turned = (group.features["SEX"] == 1) & (group.features["AGEP"] < 45)
    return replace(group, label=np.where(turned, 1 - group.label, group.label))


def trained(
    years: tuple[int, ...], seed: int, fault: str, labelled: Callable[[People], People] = as_surveyed
) -> Package:
    training, holdout = split(labelled(people(years)), seed=seed)
    training = training.take(_some(len(training), LEARNT * len(years)))
    training, holdout = (written_in(CODEBOOK[fault], group) for group in (training, holdout))
    members = MEMBERS.get(fault, 1) if seed > 1 else 1
    network = train(training, seed=seed, members=members, codebook=CODEBOOK[fault])
    figures = {"seed": seed, "members": members}
    return package(network, training, holdout, years=" and ".join(map(str, years)), hyperparameters=figures)


def _some(rows: int, wanted: int) -> Any:
    return np.linspace(0, rows - 1, min(wanted, rows)).astype(np.int64)


def altered(made: Package, change: Callable[[Network], Network], *, validated: bool) -> Package:
    """The package with another network in it, which still promises what it promised. `validated`: its golden test was
    recorded from what it is now."""
    from safetensors.torch import save

    network = change(network_of(made))
    files = {
        "weights": save(network.tensors),
        "preprocessing": rfc8785.dumps(network.preprocessing),
        "config": rfc8785.dumps(network.architecture),
    }
    manifest = json.loads(made.manifest)
    for component, data in files.items():
        entry = manifest["components"][component][0]
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    golden = made.golden if not validated else _golden(network, written_in("standard", people((2015,))))
    blobs = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
    return replace(made, manifest=rfc8785.dumps(manifest), files=blobs, golden=golden)


def _golden(network: Network, group: People) -> bytes:
    threshold = network.architecture["head"]["threshold"]
    few = group.take(np.arange(600))
    score = predict(network, few)
    clear = np.flatnonzero(np.abs(score - threshold) > 0.01)[:GOLDEN_ROWS]
    return rfc8785.dumps(
        {
            "format": "lastgood-golden/1",
            "inputs": {name: few.features[name][clear].tolist() for name in FEATURES},
            "outputs": {
                "employed": (score[clear] >= threshold).astype(int).tolist(),
                "score": [f"{value:.6f}" for value in score[clear]],
            },
            "tolerance": GOLDEN_TOLERANCE,
        }
    )


def corrupted(made: Package) -> Package:
    """Weights whose rows traded places after they were validated: the golden test is the old one."""

    def change(network: Network) -> Network:
        tensors = {
            name: tensor.roll(1, 0).contiguous() if name.startswith("layers") and tensor.dim() > 1 else tensor
            for name, tensor in network.tensors.items()
        }
        return replace(network, tensors=tensors)

    return altered(made, change, validated=False)


def wrong(made: Package) -> Package:
    """The network of an experiment under the figures of another: it never saw age nor sex."""

    def change(network: Network) -> Network:
        tensors = dict(network.tensors)
        first = tensors["layers.0.weight"].clone()
        first[:, 0] = 0
        tensors["layers.0.weight"] = first
        for name in ("RELP", "SCHL"):
            tensors[f"embeddings.{name}.weight"] = tensors[f"embeddings.{name}.weight"] * 0
        return replace(network, tensors=tensors)

    return altered(made, change, validated=True)


def quantised(made: Package) -> Package:
    """Every weight rounded to one of three values of its tensor."""

    def change(network: Network) -> Network:
        tensors = {}
        for name, tensor in network.tensors.items():
            step = tensor.abs().max() if tensor.dim() > 1 else None
            tensors[name] = tensor if step is None else (tensor / step).round() * step
        return replace(network, tensors=tensors)

    return altered(made, change, validated=True)


def config(made: Package) -> Package:
    """The threshold of another purpose."""

    def change(network: Network) -> Network:
        architecture = json.loads(json.dumps(network.architecture))
        architecture["head"]["threshold"] = 0.9
        return replace(network, architecture=architecture)

    return altered(made, change, validated=True)
