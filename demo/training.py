"""Training the employment model on CPU: an MLP over a standardised age and embedded codes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.census import CATEGORICAL, NUMERIC, People, in_order_of_meaning

EPOCHS = 4
BATCH = 1024
LEARNING_RATE = 4e-3
SNAPSHOT_EVERY = 2
Tensors = dict[str, Any]


@dataclass(frozen=True)
class Network:
    """What the host needs to build the trained network: two documents and the weights by tensor name."""

    preprocessing: dict[str, Any]
    architecture: dict[str, Any]
    tensors: Tensors


def preprocessing_of(group: People, codebook: str = "standard") -> dict[str, Any]:
    """Standardisation and code maps learned from the extract. A code's place in its map is what it means, so that the
    weights learn of meanings: those of one extract are read aright with the code maps of another."""
    age = group.features["AGEP"]
    return {
        "format": "lastgood-preprocessing/1",
        "numeric": [
            {
                "name": "AGEP",
                "op": "standardize",
                "mean": round(float(age.mean()), 6),
                "std": round(float(age.std()), 6),
            }
        ],
        "categorical": [
            {"name": name, "codes": in_order_of_meaning(codebook, name, group.features[name]), "unknown": 0}
            for name in CATEGORICAL
        ],
    }


def architecture_of(preprocessing: dict[str, Any], members: int) -> dict[str, Any]:
    embeddings = {
        entry["name"]: {"rows": len(entry["codes"]) + 1, "dim": min(8, (len(entry["codes"]) + 3) // 2)}
        for entry in preprocessing["categorical"]
    }
    width = len(NUMERIC) + sum(entry["dim"] for entry in embeddings.values())
    document = {
        "format": "lastgood-architecture/1",
        "inputs": {"numeric": list(NUMERIC), "categorical": list(CATEGORICAL)},
        "embeddings": embeddings,
        "layers": [
            {"type": "linear", "in": width, "out": 64},
            {"type": "relu"},
            {"type": "dropout", "p": 0.1},
            {"type": "linear", "in": 64, "out": 32},
            {"type": "relu"},
            {"type": "linear", "in": 32, "out": 1},
        ],
        "head": {"type": "binary", "threshold": 0.5, "output": "employed", "score": "score"},
    }
    return document if members == 1 else document | {"ensemble": {"members": members}}


def encode(preprocessing: dict[str, Any], group: People) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Numeric inputs (n, 1) and code indices (n, columns), as the preprocessing document says."""
    numeric = [
        ((group.features[entry["name"]] - entry["mean"]) / entry["std"]).astype(np.float32)
        for entry in preprocessing["numeric"]
    ]
    indices = []
    for entry in preprocessing["categorical"]:
        codes, column = np.asarray(entry["codes"]), group.features[entry["name"]]
        order = np.argsort(codes)
        at = order[np.clip(np.searchsorted(codes, column, sorter=order), 0, len(codes) - 1)]
        indices.append(np.where(codes[at] == column, at + 1, entry["unknown"]))
    return np.stack(numeric, axis=1), np.stack(indices, axis=1)


def train(group: People, *, seed: int, members: int = 1, codebook: str = "standard") -> Network:
    """Fit the network to an extract written in the codebook; with `members` > 1, an ensemble of the last snapshots of
    one training (Huang et al. 2017)."""
    import torch

    torch.manual_seed(seed)
    preprocessing = preprocessing_of(group, codebook)
    architecture = architecture_of(preprocessing, members)
    numeric, indices = (torch.from_numpy(part) for part in encode(preprocessing, group))
    label = torch.from_numpy(group.label.astype(np.float32))
    tables, layers = _modules(torch, architecture)
    parameters = [*tables.parameters(), *layers.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    steps = EPOCHS * -(-len(group) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    loss_of = torch.nn.BCEWithLogitsLoss()
    generator = torch.Generator().manual_seed(seed)
    snapshots: list[Tensors] = []
    done = 0
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(group), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss_of(_logits(torch, tables, layers, numeric[rows], indices[rows]), label[rows]).backward()
            optimizer.step()
            schedule.step()
            done += 1
            if members > 1 and (steps - done) % SNAPSHOT_EVERY == 0 and (steps - done) // SNAPSHOT_EVERY < members:
                snapshots.append(_tensors(tables, layers))
    if members == 1:
        return Network(preprocessing, architecture, _tensors(tables, layers))
    named = {f"members.{k}.{name}": tensor for k, one in enumerate(snapshots) for name, tensor in one.items()}
    return Network(preprocessing, architecture, named)


def predict(network: Network, group: People) -> NDArray[np.float64]:
    """The probability of being employed, (n,), as the host computes it."""
    import torch

    numeric, indices = (torch.from_numpy(part) for part in encode(network.preprocessing, group))
    members = network.architecture.get("ensemble", {}).get("members")
    prefixes = [""] if members is None else [f"members.{k}." for k in range(members)]
    total = None
    with torch.inference_mode():
        for prefix in prefixes:
            tables, layers = _modules(torch, network.architecture)
            own = {name[len(prefix) :]: t for name, t in network.tensors.items() if name.startswith(prefix)}
            tables.load_state_dict(_part(own, "embeddings."))
            layers.load_state_dict(_part(own, "layers."))
            layers.eval()
            logits = _logits(torch, tables, layers, numeric, indices)
            total = logits if total is None else total + logits
        return torch.sigmoid(total / len(prefixes)).double().numpy()


def _modules(torch: Any, architecture: dict[str, Any]) -> tuple[Any, Any]:
    nn = torch.nn
    tables = nn.ModuleDict({n: nn.Embedding(e["rows"], e["dim"]) for n, e in architecture["embeddings"].items()})
    make = {
        "linear": lambda layer: nn.Linear(layer["in"], layer["out"]),
        "relu": lambda layer: nn.ReLU(),
        "dropout": lambda layer: nn.Dropout(layer["p"]),
    }
    return tables, nn.Sequential(*(make[layer["type"]](layer) for layer in architecture["layers"]))


def _logits(torch: Any, tables: Any, layers: Any, numeric: Any, indices: Any) -> Any:
    embedded = [tables[name](indices[:, k]) for k, name in enumerate(CATEGORICAL)]
    return layers(torch.cat([numeric, *embedded], dim=1)).squeeze(1)


def _tensors(tables: Any, layers: Any) -> Tensors:
    tensors = {f"embeddings.{name}": tensor for name, tensor in tables.state_dict().items()}
    tensors |= {f"layers.{name}": tensor for name, tensor in layers.state_dict().items()}
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
