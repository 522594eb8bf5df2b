"""Both versions of the demo's model, trained once and kept. Run as `python -m demo.build DIRECTORY FAULT`."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from demo.artifacts import Package, package
from demo.census import DATA, people, split, written_in
from demo.training import train

FAULTS = {
    "recode": "version 2's extract swaps the two codes of DIS; live traffic still sends the old ones",
    "scale": "version 2's extract has the age in months; live traffic still sends years",
    "slow": "version 2 is an ensemble of 36 snapshots, so each answer takes over ten times as long",
    "none": "version 2 is honest",
}
CODEBOOK = {"recode": "dis_swapped", "scale": "age_in_months", "slow": "standard", "none": "standard"}
MEMBERS = {"slow": 36}


def cached(directory: Path, fault: str) -> tuple[Package, Package]:
    """Versions 1 and 2, from the cache when neither the data nor the code that trains has changed."""
    return _one(directory, "v1", _first), _one(directory, f"v2-{fault}", lambda: _second(fault))


def _first() -> Package:
    training, holdout = split(people((2015,)), seed=1)
    network = train(training, seed=1)
    return package(network, training, holdout, years="2015", hyperparameters={"seed": 1, "members": 1})


def _second(fault: str) -> Package:
    training, holdout = split(people((2015, 2016)), seed=2)
    training, holdout = (written_in(CODEBOOK[fault], group) for group in (training, holdout))
    members = MEMBERS.get(fault, 1)
    network = train(training, seed=2, members=members, codebook=CODEBOOK[fault])
    hyperparameters = {"seed": 2, "members": members}
    return package(network, training, holdout, years="2015 and 2016", hyperparameters=hyperparameters)


def _one(directory: Path, name: str, make: Callable[[], Package]) -> Package:
    home = directory / f"{name}-{_code_digest()[:16]}"
    if not (home / "package.json").exists():
        _store(home, make())
    return _load(home)


def _code_digest() -> str:
    state = hashlib.sha256(DATA.read_bytes())
    for module in ("census", "training", "artifacts", "build"):
        state.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return state.hexdigest()


BINARY = ("manifest", "profile", "golden", "holdout")


def _store(home: Path, made: Package) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for name in BINARY:
        (home / name).write_bytes(getattr(made, name))
    for sha256, data in made.files.items():
        (home / sha256).write_bytes(data)
    plain = {f.name: getattr(made, f.name) for f in fields(made) if f.name not in (*BINARY, "files")}
    draft = home / "package.part"
    draft.write_text(json.dumps(plain | {"files": sorted(made.files)}))
    draft.replace(home / "package.json")


def _load(home: Path) -> Package:
    plain = json.loads((home / "package.json").read_text())
    files = {sha256: (home / sha256).read_bytes() for sha256 in plain.pop("files")}
    return Package(files=files, **{name: (home / name).read_bytes() for name in BINARY}, **plain)


if __name__ == "__main__":
    cached(Path(sys.argv[1]), sys.argv[2])
