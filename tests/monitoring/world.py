"""What the tests of monitoring stand on: an endpoint with hosts and versions, and real people as its traffic."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from accounts.actions import token_digest
from accounts.models import ApiToken, User
from monitoring import intake
from monitoring.drift.profile import build_profile
from monitoring.models import Delivery
from monitoring.reading import ARROW
from registry import store
from registry.models import Artifact, Endpoint, Host, Model, Version

DATA = Path(__file__).resolve().parents[2] / "demo" / "data" / "acs_ma_employment.parquet"
NUMERIC = ["AGEP"]
CATEGORICAL = [
    "SCHL",
    "MAR",
    "RELP",
    "DIS",
    "ESP",
    "CIT",
    "MIG",
    "MIL",
    "ANC",
    "NATIVITY",
    "DEAR",
    "DEYE",
    "DREM",
    "SEX",
]
FEATURES = [*NUMERIC, *CATEGORICAL, "RAC1P"]
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=60)

_tables: dict[int, dict[str, np.ndarray]] = {}


def people(year: int) -> dict[str, np.ndarray]:
    """Everybody surveyed in the year, shuffled once by a fixed seed; features and `employed`."""
    if year not in _tables:
        table = pq.read_table(DATA, filters=[("year", "=", year)])
        order = np.random.default_rng(year).permutation(len(table))
        _tables[year] = {
            name: table.column(name).to_numpy().astype(np.int64)[order] for name in [*FEATURES, "employed"]
        }
    return _tables[year]


def part(year: int, start: int, rows: int) -> dict[str, np.ndarray]:
    """`rows` people of the year from position `start`."""
    return {name: column[start : start + rows] for name, column in people(year).items()}


def make_endpoint(slug: str = "employment-production") -> Endpoint:
    model, _ = Model.objects.get_or_create(slug="employment", defaults={"name": "Employment", "team": "ml"})
    return Endpoint.objects.create(slug=slug, name=slug, model=model)


def make_hosts(*names: str) -> list[Host]:
    return [Host.objects.create(name=name, address=f"http://127.0.0.1:{9000 + i}") for i, name in enumerate(names)]


def make_version(
    endpoint: Endpoint,
    number: int,
    *,
    accuracy: float | None = 0.8,
    profiled: bool = True,
    held_out: bool = False,
    inputs: Mapping[str, str] | None = None,
) -> Version:
    """A version whose training data are the people of 2015, written as the traffic is; other people of that year are
    its holdout set where one is wanted."""
    profile = holdout = None
    if held_out:
        sha256 = store.put_bytes(holdout_document())
        holdout, _ = Artifact.objects.get_or_create(
            sha256=sha256, defaults={"size": 1, "media_type": "application/vnd.apache.parquet"}
        )
    if profiled:
        sha256 = store.put_bytes(profile_document())
        profile, _ = Artifact.objects.get_or_create(
            sha256=sha256, defaults={"size": 1, "media_type": "application/json"}
        )
    metrics = {} if accuracy is None else {"holdout": {"accuracy": accuracy, "rows": 10_000}}
    return Version.objects.create(
        model=endpoint.model,
        number=number,
        digest=f"{number:064x}",
        manifest=b"{}",
        signature={"inputs": [{"name": name, "datatype": kind} for name, kind in inputs.items()]} if inputs else {},
        metrics=metrics,
        profile=profile,
        holdout=holdout,
    )


def holdout_document() -> bytes:
    columns = part(2015, 20_000, 4_000)
    sink = io.BytesIO()
    pq.write_table(pa.table({**{name: columns[name] for name in FEATURES}, "label": columns["employed"]}), sink)
    return sink.getvalue()


def profile_document() -> bytes:
    columns = part(2015, 0, 20_000)
    kinds = {name: "numeric" if name in NUMERIC else "categorical" for name in FEATURES}
    profile = build_profile({name: columns[name] for name in FEATURES}, kinds)
    outputs = {"output": columns["employed"], "score": scores(columns["employed"])}
    profile["outputs"] = build_profile(outputs, {"output": "categorical", "score": "numeric"})["columns"]
    return json.dumps(profile, sort_keys=True).encode()


def scores(output: np.ndarray) -> np.ndarray:
    """A score that goes with each answer: 0.25 or 0.75 and a little around it, the same for the same rows."""
    return (0.25 + 0.5 * output + 0.2 * np.sin(np.arange(len(output)))).astype(np.float32)


@dataclass(frozen=True)
class Answers:
    """A stretch of traffic as one host logged it, and the truth about it."""

    table: pa.Table
    label: np.ndarray

    @property
    def ids(self) -> list[str]:
        return self.table.column("id").to_pylist()


def answers(
    columns: Mapping[str, np.ndarray],
    *,
    start: datetime = START,
    length: timedelta = WINDOW,
    version: int = 1,
    accuracy: float = 0.8,
    latency_ms: float = 1.0,
    seed: int = 0,
) -> Answers:
    """The people as rows of the prediction log, evenly spread over the span, answered right with this probability."""
    rng = np.random.default_rng([seed, int(start.timestamp())])
    label = columns["employed"]
    rows = len(label)
    output = np.where(rng.random(rows) < accuracy, label, 1 - label)
    stamps = int(start.timestamp() * 1_000_000) + np.arange(rows) * (length // timedelta(microseconds=1)) // rows
    table = {
        "id": pa.array([f"{version}-{seed}-{int(start.timestamp())}-{i}" for i in range(rows)]),
        "ts": pa.array(stamps, pa.timestamp("us", "UTC")),
        "version": pa.array([str(version)] * rows),
        "digest": pa.array([f"{version:064x}"] * rows),
        "latency_ms": pa.array(rng.gamma(9.0, latency_ms / 9.0, rows).astype(np.float32)),
        "output": pa.array(output),
        "score": pa.array(scores(output)),
        **{f"feature.{name}": pa.array(columns[name]) for name in FEATURES if name in columns},
    }
    return Answers(pa.table(table), label)


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def label_lines(given: Answers, at: datetime = START) -> bytes:
    return b"\n".join(
        json.dumps({"id": identity, "label": int(label), "ts": at.isoformat()}).encode()
        for identity, label in zip(given.ids, given.label, strict=True)
    )


def send(
    source: str, body: bytes, endpoint: Endpoint | None, host: Host | None = None, *, key: str = "", sender: str = ""
) -> Delivery:
    """Accept a delivery and read it, as the worker would."""
    content_type = ARROW if source == intake.PREDICTIONS else "application/json"
    delivery, _ = intake.accept(
        source=source, key=key, endpoint=endpoint, host=host, content_type=content_type, body=body, sender=sender
    )
    intake.process(delivery.pk)
    delivery.refresh_from_db()
    return delivery


def log(endpoint: Endpoint, host: Host | None, given: Answers, *, labelled: bool = True) -> None:
    """Hand in predictions and, unless told otherwise, the truth about them."""
    send(intake.PREDICTIONS, stream(given.table), endpoint, host)
    if labelled:
        send(intake.LABELS, label_lines(given), endpoint)


def ingest_token() -> str:
    """A token with the scope `ingest`, as the hosts hold one."""
    secret = "lg_0123abcd_" + "s" * 32
    owner = User.objects.create(username="ingest", email="ingest@example.org")
    ApiToken.objects.create(
        name="hosts", owner=owner, prefix="0123abcd", sha256=token_digest(secret), scopes=["ingest"]
    )
    return secret


def swap_codes(columns: dict[str, np.ndarray]) -> None:
    """As where two codes of a column are taken for each other."""
    columns["DIS"] = 3 - columns["DIS"]
