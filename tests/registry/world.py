"""What the tests of the registry stand on: small real models, hosts that serve them, and how they came to."""

import json
from pathlib import Path
from typing import Any

from audit.actions import Actor
from audit.models import AuditEvent
from registry import actions
from registry.models import Endpoint, Host, Model, Placement, Version
from tests.host.artifacts import make_model
from tests.host.fixtures import TOKEN, HostProcess

ALICE = Actor("user", "u-alice")
Made = tuple[bytes, dict[str, Path]]


def make_registered_model(slug: str = "toy") -> Model:
    return actions.register_model(slug=slug, name="Toy", team="ml", actor=ALICE)


def golden_bytes(label: int = 1, tolerance: str = "0.001", score: str | None = None) -> bytes:
    """Two rows that a version with bias 100 answers with 1, one with bias -100 with 0."""
    outputs: dict[str, Any] = {"label": [label, label], "score": [score or f"{label}.0"] * 2}
    inputs = {"AGE": [30, 40], "COLOR": [1, 2], "SHAPE": [0, 5]}
    return json.dumps(
        {"format": "lastgood-golden/1", "inputs": inputs, "outputs": outputs, "tolerance": tolerance}
    ).encode()


def register(model: Model, made: Made, **more: Any) -> Version:
    return actions.register_version(model=model, manifest=made[0], files=made[1], actor=ALICE, **more)


def make_version(model: Model, folder: Path, *, seed: int = 1, label: int = 1, **more: Any) -> tuple[Version, Made]:
    """A registered version that always answers `label`, with its files."""
    made = make_model(folder / f"made-{seed}", seed, model=model.slug, bias=100.0 if label else -100.0)
    return register(model, made, **{"golden": golden_bytes(label), **more}), made


def make_endpoint(model: Model, slug: str = "toy-production", **more: Any) -> Endpoint:
    return actions.register_endpoint(slug=slug, name=slug, model=model, actor=ALICE, **more)


def make_host(name: str = "gpu-a1", address: str = "http://127.0.0.1:9", token: str = TOKEN) -> Host:
    return actions.register_host(name=name, engine="bundled", address=address, control_token=token, actor=ALICE)


def make_placement(
    endpoint: Endpoint, process: HostProcess | None = None, name: str = "gpu-a1", address: str = "http://127.0.0.1:9"
) -> Placement:
    host = make_host(name, process.url if process else address)
    return actions.place(endpoint=endpoint, host=host, actor=ALICE)


def switched(placement: Placement, version: Version, cause: str = "release") -> None:
    """Enter that the version went live there."""
    actions.record_switch(endpoint=placement.endpoint, host=placement.host, version=version, cause=cause, actor=ALICE)
    placement.refresh_from_db()


def events(action: str) -> list[dict[str, Any]]:
    """The recorded events of an action, oldest first, as their canonical bytes say."""
    rows = AuditEvent.objects.filter(action=action).order_by("pk")
    return [json.loads(bytes(row.canon)) for row in rows]
