"""Where to? Every version the endpoint could go to: eligible or why not, and how it would have done on the very traffic
of the incident and on its holdout set. Each candidate answers itself, loaded on a host beside what is served."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction

from audit.actions import Actor, Target, record
from incidents.rollback import fleet, live, trials
from incidents.rollback.checks import percent
from incidents.rollback.fleet import Remote
from incidents.rollback.lease import LeaseLost
from incidents.rollback.models import Candidate, TrialPurpose, TrialState
from incidents.rollback.prepare import NotPrepared
from incidents.rollback.trials import Bench, TrialLease
from monitoring.windows import load_predictions, numpy_column
from registry.models import Alias, Deployment, Endpoint, Version
from registry.serving.base import ServingError
from registry.store import ArtifactDamaged, ArtifactMissing, open_verified

REPLAY_ROWS = 2000
HOLDOUT_ROWS = 1000
MIN_GROUP = 50
CONSIDERED = 10


@dataclass
class Weighed:
    """A version with what speaks for and against it."""

    version: Version
    eligible: bool = True
    reasons: list[str] = field(default_factory=list)
    replay: dict[str, Any] = field(default_factory=dict)

    def reject(self, sentence: str) -> None:
        self.eligible = False
        self.reasons.append(sentence)


def rank(
    *, endpoint: Endpoint, incident_ref: str, window: tuple[datetime.datetime, datetime.datetime], actor: Actor
) -> list[Candidate]:
    """Weigh, replay and store the candidates of an endpoint, best first; the incident's earlier ranking is replaced.

    The traffic replayed is what was answered in `window` (start, end); accuracy is over the rows with a label by now.
    """
    suspect = suspect_version(endpoint, window[1])
    remotes = trials.remotes_of(endpoint)
    traffic = _traffic(endpoint, window, suspect)
    versions = Version.objects.filter(model=endpoint.model).order_by("-number")[:CONSIDERED]
    weighed = [_weigh(version, suspect, endpoint, remotes) for version in versions]
    _replay_all(
        [candidate for candidate in weighed if candidate.eligible], endpoint, remotes, traffic, incident_ref, actor
    )
    ordered = sorted(weighed, key=_order)
    with transaction.atomic():
        Candidate.objects.filter(incident_ref=incident_ref).delete()
        rows = Candidate.objects.bulk_create(
            Candidate(
                incident_ref=incident_ref,
                endpoint=endpoint,
                to_version=candidate.version,
                eligible=candidate.eligible,
                reasons=candidate.reasons,
                replay=candidate.replay,
                rank=position,
            )
            for position, candidate in enumerate(ordered, start=1)
        )
        record(
            action="rollback.ranking.answer",
            target=Target("endpoint", endpoint.slug),
            actor=actor,
            incident=incident_ref,
            data={
                "suspect": suspect.digest if suspect else "",
                "rows": len(traffic),
                "candidates": [
                    {"version": row.to_version.number, "digest": row.to_version.digest, "eligible": row.eligible}
                    for row in rows
                ],
            },
        )
    return rows


def suspect_version(endpoint: Endpoint, at: datetime.datetime) -> Version | None:
    """The version that the endpoint served at the end of the window (the newest one, where hosts differed)."""
    live_then = Deployment.objects.filter(endpoint=endpoint, since__lt=at).order_by("-since").select_related("version")
    first = live_then.first()
    return first.version if first else None


def _traffic(
    endpoint: Endpoint, window: tuple[datetime.datetime, datetime.datetime], suspect: Version | None
) -> pa.Table:
    """Rows of the window that the suspect answered, labelled ones only where there are any, at most REPLAY_ROWS."""
    versions = [str(suspect.number)] if suspect else None
    table = load_predictions(endpoint, window[0], window[1], versions=versions)
    labelled = table.filter(pc.is_valid(table.column("label")))
    return live.evenly(labelled if len(labelled) else table, REPLAY_ROWS)


def _weigh(version: Version, suspect: Version | None, endpoint: Endpoint, remotes: list[Remote]) -> Weighed:
    """Eligible or not, in sentences."""
    weighed = Weighed(version)
    if suspect is not None and version.pk == suspect.pk:
        weighed.reject("It is the version that the endpoint serves, which is what went wrong.")
        return weighed
    if version.quarantined_at is not None:
        weighed.reject(f"It is quarantined: {version.quarantine_reason}")
    last_good = Alias.objects.filter(model=endpoint.model, name=Alias.LAST_GOOD, version=version).exists()
    if last_good:
        weighed.reasons.append("It is the last version that was good in production.")
    elif version.soaked_at is not None:
        weighed.reasons.append("It has soaked in production without an alert.")
    else:
        weighed.reject("It has never soaked in production.")
    if suspect is not None and _inputs(version) != _inputs(suspect):
        weighed.reject("Its input signature differs from that of the live version.")
    if version.golden_id is None:
        weighed.reject("It has no golden test, so nothing can prove what a host would answer with it.")
    damaged = _damaged(version)
    if damaged:
        weighed.reject(f"A file of it is missing or damaged: {damaged}.")
    elif weighed.eligible:
        weighed.reasons.append("Its files are present and match their digests.")
    if not remotes:
        weighed.reject("No host answers, so it could not be tried.")
    return weighed


def _inputs(version: Version) -> set[tuple[str, str]]:
    return {(str(entry["name"]), str(entry["datatype"])) for entry in version.signature["inputs"]}


def _damaged(version: Version) -> str:
    """The path of the first file that is missing or not what its digest says; "" when all are whole."""
    for entry in version.files.all():
        try:
            with open_verified(entry.artifact_id):
                pass
        except (ArtifactMissing, ArtifactDamaged, OSError):
            return str(entry.path)
    return ""


def _replay_all(
    eligible: Sequence[Weighed],
    endpoint: Endpoint,
    remotes: Sequence[Remote],
    traffic: pa.Table,
    incident_ref: str,
    actor: Actor,
) -> None:
    """Let each answer, one after the other, under a lease of the endpoint. What had to be loaded leaves again.

    While a run or another trial has the endpoint nothing is loaded: those answer that are in memory anyway.
    """
    if not eligible:
        return
    trial = trials.open_trial(endpoint=endpoint, purpose=TrialPurpose.RANKING, incident_ref=incident_ref, actor=actor)
    with TrialLease(trial.pk) as lease:
        bench = Bench(trial, lease, actor) if lease.held else None
        for candidate in eligible:
            try:
                _replay(candidate, remotes, traffic, bench)
                if bench is not None:
                    bench.tidy()
            except LeaseLost:
                bench = None
                _replay(candidate, remotes, traffic, bench)
        if bench is not None:
            bench.lease.end(TrialState.DONE)
            bench.tidy()
        else:
            trials.give_up(trial, "The endpoint was taken: a run or another trial went on.")


def _replay(weighed: Weighed, remotes: Sequence[Remote], traffic: pa.Table, bench: Bench | None) -> None:
    """Let the candidate answer on the first host that holds it or, with a bench, has room for it. Raises LeaseLost."""
    version, error = weighed.version, ""
    for remote in remotes:
        try:
            observation, seen = remote.observe()
            if bench is None and not fleet.is_loaded(seen, version):
                continue
            if not trials.fits(observation, seen, version):
                continue
            if bench is not None:
                bench.bring(remote, version)
            weighed.replay = {"host": remote.host.name, **_replay_on(remote, version, traffic)}
            weighed.reasons.append(_replay_sentence(weighed.replay))
            return
        except (ServingError, NotPrepared, KeyError) as refused:
            error = str(refused)[:300]
    if error:
        weighed.replay = {"error": error}
        weighed.reject(f"It could not be tried on a host: {error}")
    elif bench is None:
        weighed.reasons.append("It was not tried: a run or another trial has the endpoint, and no host holds it warm.")
    else:
        weighed.reject("It fits into the free memory of no host.")


def _replay_on(remote: Remote, version: Version, traffic: pa.Table) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": len(traffic)}
    if len(traffic):
        columns = live.columns_of(traffic, version, "feature.")
        answers = live.predict(remote, version, columns, len(traffic))
        served = numpy_column(traffic, "output").astype(float)
        labels = numpy_column(traffic, "label").astype(float)
        known = ~np.isnan(labels)
        found["changed"] = int((answers != served).sum())
        found["labelled"] = int(known.sum())
        if known.any():
            found["candidate"] = live.share(answers[known] == labels[known])
            found["live"] = live.share(served[known] == labels[known])
            found["groups"] = _groups(version, traffic, known, answers, served, labels)
    holdout = live.holdout_rows(version, HOLDOUT_ROWS)
    if holdout is not None:
        answers = live.predict(remote, version, live.columns_of(holdout, version), len(holdout))
        found["holdout"] = live.share(answers == numpy_column(holdout, live.LABEL).astype(float))
    return found


def _groups(
    version: Version, traffic: pa.Table, known: np.ndarray, answers: np.ndarray, served: np.ndarray, labels: np.ndarray
) -> list[dict[str, Any]]:
    """By the model's group columns: what was answered and what the candidate answers, worst for the live version first.
    Groups of fewer than MIN_GROUP labelled rows are left out."""
    found = []
    for column in version.model.group_columns:
        name = f"feature.{column}"
        if name not in traffic.column_names:
            continue
        values = np.asarray(traffic.column(name).to_pylist(), dtype=object)
        for value in sorted(set(values[known].tolist()), key=str):
            mine = known & (values == value)
            if mine.sum() >= MIN_GROUP:
                found.append(
                    {
                        "column": column,
                        "value": str(value),
                        "n": int(mine.sum()),
                        "live": live.share(served[mine] == labels[mine])["accuracy"],
                        "candidate": live.share(answers[mine] == labels[mine])["accuracy"],
                    }
                )
    return sorted(found, key=lambda group: group["live"] - group["candidate"])[:8]


def _replay_sentence(replay: Mapping[str, Any]) -> str:
    if "candidate" in replay:
        was, would = percent(replay["live"]["accuracy"]), percent(replay["candidate"]["accuracy"])
        return f"On {replay['labelled']} labelled rows of this incident it is right in {would}, where {was} were right."
    if replay["rows"]:
        return f"On {replay['rows']} rows of this incident it would have answered {replay['changed']} differently."
    return "There was no traffic in the window to replay."


def _order(weighed: Weighed) -> tuple[bool, float, bool, int]:
    """Eligible ones first, then by replayed accuracy, then those that soaked, then the newest."""
    accuracy = weighed.replay.get("candidate", weighed.replay.get("holdout", {})).get("accuracy", 0.0)
    return (not weighed.eligible, -float(accuracy), weighed.version.soaked_at is None, -weighed.version.number)
