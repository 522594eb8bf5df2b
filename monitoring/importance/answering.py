"""Who can be asked what a version answers: a worker that carries out the version's own files, else a host that has it
loaded, within what it can spare."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray

from monitoring.drift.importance import Columns, Metric
from monitoring.quality.declared import UNFIT, Declared, declared
from monitoring.quality.offline import NotCarriedOut
from registry import queries
from registry.models import Endpoint, Environment, Health, Placement, Version
from registry.sealing import SealBroken
from registry.serving.allow import AddressRefused
from registry.serving.base import HostAddress, ServingDriver, ServingError
from registry.serving_access import address_of, driver_of
from registry.store import ArtifactUnavailable
from registry.tensors import read_index

CELLS = 2**23
"""Numbers of one layer that a worker holds at once: 64 MiB."""
HOST_BATCH = 200


class NotByVersion(LookupError):
    """The host's engine answers as what it serves now, whichever version that is: it can't be asked for one."""


class NobodyAnswers(Exception):
    """Neither a worker nor a host can be asked now. The message says why."""


@dataclass(frozen=True)
class Respondent:
    """Who is asked, and how much of it: at most `rows` rows, each column shuffled at most `repeats` times, for about
    `seconds` in one turn, and then left alone for `rest` times as long. `read` makes of columns as sent what `predict`
    takes, value by value, so that shuffling before and after it is the same. `predict` gives the version's answers,
    float64 of shape (rows,), and raises ValueError and registry.serving.base.ServingError."""

    by: str
    read: Callable[[Columns], Columns]
    predict: Callable[[Columns], NDArray[np.float64]]
    rows: int
    repeats: int
    seconds: float
    rest: float


def respondent(version: Version, sample: Columns) -> Respondent:
    """Who answers for the version. `sample` are a few rows to try it with. Raises NobodyAnswers, and
    registry.store.ArtifactUnavailable."""
    try:
        return _worker(version, sample)
    except ArtifactUnavailable:
        raise
    except NotCarriedOut as why:
        not_here = str(why)
    except (*UNFIT, ArithmeticError, MemoryError) as error:
        not_here = " ".join(str(error).split())[:200] or type(error).__name__
    serving = []
    for placement in _placements(version):
        try:
            return _host(placement, version)
        except NotByVersion:
            serving += [placement.host.name] if placement.observed_digest == version.digest else []
        except (ServingError, AddressRefused, SealBroken, LookupError):
            continue
    raise NobodyAnswers(_why_nobody(f"{not_here[:1].lower()}{not_here[1:].rstrip('.')}.", serving))


def _why_nobody(not_here: str, serving: list[str]) -> str:
    """`serving` names hosts that serve the version by an engine that can't be asked for it."""
    if not serving:
        return gettext("A worker can't carry it out: %(why)s And no host that can be asked for it has it loaded.") % {
            "why": not_here
        }
    return gettext(
        "A worker can't carry it out: %(why)s And %(host)s serves it by an engine that can't be asked for a version by "
        "its number: what came back could be another one's. Hand in an importance with the next version's profile."
    ) % {"why": not_here, "host": serving[0]}


def metric_of(version: Version) -> Metric:
    """How good an answer is: right or not, or, of an answer that is a number with a fraction, how far off."""
    kinds = {str(entry["name"]): str(entry["datatype"]) for entry in version.signature["outputs"]}
    return "absolute_error" if kinds[version.output_name].startswith("FP") else "accuracy"


def _worker(version: Version, sample: Columns) -> Respondent:
    """Nothing of the files is run: they are JSON of closed vocabularies and tensors, carried out with NumPy."""
    files = declared(version)
    most = max(1, CELLS // _widest(files))

    def predict(columns: Columns) -> NDArray[np.float64]:
        rows = len(next(iter(columns.values())))
        parts = [
            files.answers({name: values[start : start + most] for name, values in columns.items()})["output"]
            for start in range(0, rows, most)
        ]
        return np.concatenate(parts).astype(np.float64)

    predict(files.read(sample))
    return Respondent("", files.read, predict, rows=5000, repeats=5, seconds=5, rest=0)


def _widest(files: Declared) -> int:
    """Numbers that a row has at most between two layers."""
    index = read_index(files.weights)
    return max((max(entry.shape, default=1) for name, entry in index.items() if "embeddings." not in name), default=1)


def _placements(version: Version) -> Iterator[Placement]:
    """Where to ask: not production before staging, not a host that serves the version before one that only holds it,
    and none of an endpoint whose hosts are being changed."""
    endpoints = list(Endpoint.objects.filter(model=version.model))
    found = [
        placement
        for placements in queries.placements_of(endpoints).values()
        if not queries.is_moving(placements)
        for placement in placements
        if placement.host.drained_at is None and placement.health == Health.SERVING
    ]
    live = {endpoint.pk: endpoint.environment == Environment.PRODUCTION for endpoint in endpoints}
    return iter(sorted(found, key=lambda one: (live[one.endpoint_id], one.observed_digest == version.digest, one.pk)))


def _host(placement: Placement, version: Version) -> Respondent:
    """Raises NotByVersion where the host can't be asked for a version by its number, LookupError where it does not hold
    it, and what reaching it raises."""
    driver, address = driver_of(placement.host), address_of(placement.host)
    model, number = version.model.slug, str(version.number)
    if not driver.capabilities.versioned_inference:
        raise NotByVersion(placement.host.name)
    held = driver.observe(address).models[model].versions[number]
    read = held.loaded_digest if driver.capabilities.digest_read_back else held.digest
    if held.state != "ready" or read != version.digest:
        raise LookupError(placement.host.name)
    return Respondent(
        placement.host.name, dict, _asking(driver, address, version), rows=1000, repeats=2, seconds=1, rest=4
    )


def _asking(driver: ServingDriver, address: HostAddress, version: Version) -> Callable[[Columns], NDArray[np.float64]]:
    """Batches one after the other: never more than one request of ours is under way."""
    names, answer = version.input_names, version.output_name

    def predict(columns: Columns) -> NDArray[np.float64]:
        rows = len(columns[names[0]])
        found: list[Any] = []
        for start in range(0, rows, HOST_BATCH):
            batch = {name: columns[name][start : start + HOST_BATCH].tolist() for name in names}
            given = driver.infer(address, version.model.slug, batch, version=str(version.number)).outputs
            if answer not in given:
                raise ServingError(f"The host's answer lacks the output {answer}.")
            found += given[answer]
        try:
            return np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(gettext("Its answers are not numbers, so no label can be held against them.")) from None

    return predict
