"""Where to? Every version the endpoint could go to: eligible or why not, and how it would have done on the very traffic
of the incident and on its holdout set. Each candidate answers itself, loaded on a host beside what is served; so does a
version that would be composed of the live one and a part of the one that does best."""

import datetime
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction

from audit.actions import Actor, Target, record
from incidents.rollback import fleet, replaying, trials
from incidents.rollback.facts import promised_accuracy
from incidents.rollback.fleet import Remote
from incidents.rollback.lease import LeaseLost
from incidents.rollback.models import Candidate, TrialPurpose, TrialState
from incidents.rollback.prepare import NotPrepared
from incidents.rollback.replaying import Basis
from incidents.rollback.slices import Hit
from incidents.rollback.trials import Bench, TrialLease
from monitoring.holdouts import evenly
from monitoring.windows import load_predictions
from registry import intact
from registry.actions import ask_composition, compose
from registry.composing import composition_of, part_sentence
from registry.errors import RegistryError
from registry.models import Alias, CompositionKind, Deployment, Endpoint, Version
from registry.serving.base import ServingError

REPLAY_ROWS = 5000
CONSIDERED = 10
PARTS = (CompositionKind.PREPROCESSING, CompositionKind.CONFIG)
"""Parts that are tried by themselves: without new weights, so that trying costs a manifest and a load."""

logger = logging.getLogger(__name__)


@dataclass
class Weighed:
    """A version with what speaks for and against it. What is not `triable` is not loaded on a host either."""

    version: Version
    eligible: bool = True
    triable: bool = True
    reasons: list[str] = field(default_factory=list)
    replay: dict[str, Any] = field(default_factory=dict)

    def reject(self, sentence: str, *, triable: bool = False) -> None:
        self.eligible = False
        self.triable = self.triable and triable
        self.reasons.append(sentence)


def rank(
    *,
    endpoint: Endpoint,
    incident_ref: str,
    window: tuple[datetime.datetime, datetime.datetime],
    hit: Hit | None = None,
    actor: Actor,
) -> list[Candidate]:
    """Weigh, replay and store the candidates of an endpoint, best first; the incident's earlier ranking is replaced.

    The traffic replayed is what was answered in `window` (start, end); accuracy is over the rows with a label by now.
    `hit` is the slice that the incident hit most: what becomes of it is told of each candidate.
    """
    suspect = suspect_version(endpoint, window[1])
    remotes = trials.remotes_of(endpoint)
    basis = Basis(_traffic(endpoint, window, suspect), suspect, hit)
    weighed = [_weigh(version, suspect, endpoint, remotes) for version in _considered(endpoint, suspect)]
    _replay_all(weighed, endpoint, remotes, basis, incident_ref, actor)
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
                "promised": _promised(suspect),
                "rows": len(basis.rows),
                "candidates": [
                    {
                        "version": row.to_version.number,
                        "digest": row.to_version.digest,
                        "eligible": row.eligible,
                        "replayed": replaying.figures_of(row.replay),
                    }
                    for row in rows
                ],
            },
        )
    return rows


def _promised(suspect: Version | None) -> str:
    """The accuracy that the live version promised, as a decimal text; "" where it promised none."""
    value = promised_accuracy(suspect) if suspect is not None else None
    return "" if value is None else f"{value:.6f}"


def _considered(endpoint: Endpoint, suspect: Version | None) -> list[Version]:
    """The newest versions, and the live and the last-good one however old they are."""
    versions = Version.objects.filter(model=endpoint.model).order_by("-number")
    last_good = Alias.objects.filter(model=endpoint.model, name=Alias.LAST_GOOD).values_list("version", flat=True)
    always = [*last_good, *([suspect.pk] if suspect else [])]
    newest = list(versions[:CONSIDERED])
    return newest + list(versions.filter(pk__in=always).exclude(pk__in=[version.pk for version in newest]))


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
    return evenly(labelled if len(labelled) else table, REPLAY_ROWS)


def _weigh(version: Version, suspect: Version | None, endpoint: Endpoint, remotes: list[Remote]) -> Weighed:
    """Eligible or not, in sentences."""
    weighed = Weighed(version)
    if suspect is not None and version.pk == suspect.pk:
        weighed.reject("It is the version that the endpoint serves.")
        return weighed
    if version.quarantined_at is not None:
        weighed.reject(f"It is quarantined: {version.quarantine_reason}")
    last_good = Alias.objects.filter(model=endpoint.model, name=Alias.LAST_GOOD, version=version).exists()
    if last_good:
        weighed.reasons.append("It is the last version that was good in production.")
    elif version.soaked_at is not None:
        weighed.reasons.append("It has soaked in production without an alert.")
    else:
        weighed.reject("It has never soaked in production.", triable=composition_of(version) is not None)
    for objection in replaying.objections(version, suspect) if suspect is not None else []:
        weighed.reject(objection)
    if version.golden_id is None:
        weighed.reject(
            "It has no golden test, so nothing can prove what a host would answer with it.", triable=weighed.triable
        )
    files = intact.look(version.files.values_list("artifact_id", flat=True), unread_since=intact.fresh_since())
    if files.damage:
        weighed.reject(f"A file of it is missing or damaged: {files.damage}.")
    elif weighed.eligible:
        weighed.reasons.append(f"In the store: {files.sentence}.")
    if not remotes:
        weighed.reject("No host answers, so it could not be tried.")
    return weighed


def _replay_all(
    weighed: list[Weighed],
    endpoint: Endpoint,
    remotes: Sequence[Remote],
    basis: Basis,
    incident_ref: str,
    actor: Actor,
) -> None:
    """Let each answer, one after the other, under a lease of the endpoint. What had to be loaded leaves again. What is
    composed on the way is appended to `weighed`.

    While a run or another trial has the endpoint nothing is loaded: those answer that are in memory anyway.
    """
    remotes = _sound_first(weighed, remotes, basis)
    triable = [candidate for candidate in weighed if candidate.triable]
    if not triable:
        return
    trial = trials.open_trial(endpoint=endpoint, purpose=TrialPurpose.RANKING, incident_ref=incident_ref, actor=actor)
    with TrialLease(trial.pk) as lease:
        bench = Bench(trial, lease, actor) if lease.held else None
        for candidate in triable:
            bench = _tried(candidate, remotes, basis, bench)
        if bench is not None:
            for part in _parts(weighed, basis, incident_ref, actor):
                weighed.append(part)
                bench = _tried(part, remotes, basis, bench)
        if bench is not None:
            bench.lease.end(TrialState.DONE)
            bench.tidy()
        else:
            trials.give_up(trial, "The endpoint was taken: a run or another trial went on.")


def _tried(candidate: Weighed, remotes: Sequence[Remote], basis: Basis, bench: Bench | None) -> Bench | None:
    """The bench, or None once the lease is lost."""
    try:
        _replay(candidate, remotes, basis, bench)
        if bench is not None:
            bench.tidy()
    except LeaseLost:
        bench = None
        _replay(candidate, remotes, basis, bench)
    return bench


def _sound_first(weighed: Sequence[Weighed], remotes: Sequence[Remote], basis: Basis) -> list[Remote]:
    """The hosts that pass the live version's golden test, or all where none does or it has none; and what the live
    version answers to its own rows again, on the first of them that holds it, as the replay of its own entry."""
    own = next((one for one in weighed if basis.suspect is not None and one.version.pk == basis.suspect.pk), None)
    if own is None:
        return list(remotes)
    golden = replaying.golden_on(remotes, own.version)
    failed = {name for name, wrong in golden.items() if wrong}
    sound = [remote for remote in remotes if remote.host.name not in failed] or list(remotes)
    own.replay = {"itself": True, "rows": len(basis.rows), "golden": golden}
    for remote in sound:
        try:
            if remote.host.name not in failed and fleet.is_loaded(remote.look(), own.version, read_back=False):
                own.replay = replaying.itself(basis, remote, golden)
                break
        except (ServingError, KeyError) as refused:
            own.replay["error"] = str(refused)[:300]
    return sound


def _parts(weighed: Sequence[Weighed], basis: Basis, incident_ref: str, actor: Actor) -> Iterator[Weighed]:
    """The live version with a part of the eligible one that does best, where that is surely better: perhaps the part
    alone went wrong. Composed at once, on record; never eligible before it was rehearsed."""
    better = [one for one in weighed if one.eligible and one.replay.get("paired", {}).get("low", -1.0) > 0]
    if not better or basis.suspect is None or composition_of(basis.suspect) is not None:
        return
    other = min(better, key=_order).version
    known = {one.version.pk for one in weighed}
    for kind in PARTS:
        try:
            asked = ask_composition(base=basis.suspect, other=other, kind=kind, incident_ref=incident_ref, actor=actor)
            compose(composition_id=asked.pk)
        except RegistryError as refused:
            logger.info("rollback.ranking.no_part kind=%s because=%s", kind, refused)
            continue
        asked.refresh_from_db()
        if asked.version is not None and asked.version.pk not in known:
            known.add(asked.version.pk)
            yield _composed(asked.version)


def _composed(version: Version) -> Weighed:
    weighed = Weighed(version, reasons=[part_sentence(version)])
    weighed.reject(
        "It has never soaked in production, and no training promised what it answers: rehearse it first.", triable=True
    )
    return weighed


def _replay(weighed: Weighed, remotes: Sequence[Remote], basis: Basis, bench: Bench | None) -> None:
    """Let the candidate answer on the first host that holds it or, with a bench, has room for it. Raises LeaseLost."""
    version, error = weighed.version, ""
    for remote in remotes:
        try:
            observation, seen = remote.observe()
            if bench is None and not fleet.is_loaded(seen, version):
                continue
            if not trials.fits(remote, observation, seen, version):
                continue
            if bench is not None:
                bench.bring(remote, version)
            weighed.replay = replaying.candidate(basis, remote, version)
            weighed.reasons += replaying.sentences(weighed.replay)
            weighed.reasons += [replaying.memory_sentence(remote, version)]
            learned = replaying.not_learned(version, basis.rows)
            weighed.reasons += [learned] if learned else []
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


def _order(weighed: Weighed) -> tuple[bool, float, bool, int]:
    """Those that could be tried first, then by replayed accuracy, then those that soaked, then the newest."""
    accuracy = weighed.replay.get("candidate", weighed.replay.get("holdout", {})).get("accuracy", 0.0)
    possible = weighed.eligible or (weighed.triable and "candidate" in weighed.replay)
    return (not possible, -float(accuracy), not weighed.eligible, -weighed.version.number)
