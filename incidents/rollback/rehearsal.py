"""Rehearsing a composed version: what it answers is recorded on real hosts before it may be anybody's target.

No training has promised its outputs, so what is recorded proves less than a golden test that came with a version: that
all hosts agree with the rehearsal, not that it is right. How right it is, its holdout figure says, beside its parents'.
"""

import json
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import require_on
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit
from incidents.rollback import live, trials
from incidents.rollback.fleet import Remote
from incidents.rollback.lease import LeaseLost
from incidents.rollback.models import OPEN_TRIALS, Trial, TrialPurpose, TrialState
from incidents.rollback.prepare import NotPrepared
from incidents.rollback.trials import Bench, TrialLease
from monitoring.holdouts import holdout_rows
from monitoring.windows import numpy_column
from registry.actions import RegistryError, record_rehearsal
from registry.composing import composition_of
from registry.content import read_json
from registry.golden import BATCH_ROWS, FORMAT, GoldenInvalid, golden_of, tolerance_of
from registry.models import Endpoint, Placement, Version
from registry.serving.base import ServingError
from registry.store import ArtifactDamaged, local

logger = logging.getLogger(__name__)

HOSTS = 2
HOLDOUT_ROWS = 1000
MAX_ATTEMPTS = 3
DIGITS = 9
"""Of a decimal output: what a float32 needs to be written without loss."""


class NotRehearsed(Exception):
    """The version could not be rehearsed; the message is a sentence."""


def ask_rehearsal(*, version: Version, endpoint: Endpoint, user: User, actor: Actor, incident_ref: str = "") -> Trial:
    """Have a composed version rehearsed on hosts of the endpoint; one that was asked for and goes on is given as it is.

    Wakes `rollback.try`. Raises PermissionDenied, and NotRehearsed for a version that needs no rehearsal.
    """
    require_on(user, "plan.propose", endpoint)
    if version.model_id != endpoint.model_id:
        raise NotRehearsed(
            gettext("%(version)s belongs to another model than %(slug)s.") % {"version": version, "slug": endpoint.slug}
        )
    if composition_of(version) is None:
        raise NotRehearsed(
            gettext("Version %(number)s was not composed here; only such a one is rehearsed.")
            % {"number": version.number}
        )
    if version.golden_id is not None:
        raise NotRehearsed(
            gettext("Version %(number)s was rehearsed already. Propose a plan to it.") % {"number": version.number}
        )
    if not Placement.objects.filter(endpoint=endpoint, host__drained_at=None).exists():
        raise NotRehearsed(gettext("No host serves %(slug)s. Choose another endpoint.") % {"slug": endpoint.slug})
    going_on = Trial.objects.filter(endpoint=endpoint, version=version, state__in=OPEN_TRIALS)
    if known := going_on.first():
        return known
    try:
        with transaction.atomic():
            trial = trials.open_trial(
                endpoint=endpoint,
                purpose=TrialPurpose.REHEARSAL,
                version=version,
                incident_ref=incident_ref,
                actor=actor,
            )
            record(
                action="rollback.rehearsal.order",
                target=Target("version", f"{version.model.slug}/{version.number}", version.digest),
                actor=actor,
                incident=incident_ref,
                data={"endpoint": endpoint.slug, "digest": version.digest, "trial": str(trial.pk)},
            )
            send_on_commit("rollback.try", [str(trial.pk)], queue="compute")
            return trial
    except IntegrityError:
        return going_on.get()


def take_up(trial_id: Any) -> bool:
    """Carry out a trial that waits, or end one whose worker was lost. False when it can't be had now."""
    with TrialLease(trial_id) as lease:
        if not lease.held:
            return False
        related = ("endpoint__model", "version__model", "version__holdout")
        trial = Trial.objects.select_related(*related).get(pk=trial_id)
        bench = Bench(trial, lease, trials.WORKER)
        try:
            if trial.purpose == TrialPurpose.RANKING or trial.version is None:
                _fail(bench, "The worker that ranked was lost.")
            elif trial.attempts > MAX_ATTEMPTS:
                _fail(bench, "It did not come to an end in three attempts.")
            else:
                _rehearse(bench, trial.version)
        except LeaseLost:
            logger.info("rollback.trial.gave_way trial=%s", trial_id)
            return False
        bench.tidy()
    return True


def _rehearse(bench: Bench, version: Version) -> None:
    try:
        golden, figures = _asked(bench, version)
        with transaction.atomic():
            # Together: a worker that died in between would leave a trial that can only fail, its version rehearsed.
            bench.lease.confirm()
            record_rehearsal(
                version=version,
                golden=golden,
                metrics=figures,
                incident_ref=bench.trial.incident_ref,
                actor=bench.actor,
            )
            bench.lease.end(TrialState.DONE)
    except (NotRehearsed, NotPrepared, RegistryError, GoldenInvalid, ServingError, OSError, ArtifactDamaged) as error:
        _fail(bench, str(error))


def _fail(bench: Bench, reason: str) -> None:
    trial = bench.trial
    with transaction.atomic():
        if bench.lease.end(TrialState.FAILED, reason) and trial.version is not None:
            record(
                action="rollback.rehearsal.fail",
                target=Target("version", f"{trial.version.model.slug}/{trial.version.number}", trial.version.digest),
                actor=bench.actor,
                incident=trial.incident_ref,
                outcome="failed",
                reason=reason,
                data={"endpoint": trial.endpoint.slug, "digest": trial.version.digest, "trial": str(trial.pk)},
            )


def _asked(bench: Bench, version: Version) -> tuple[bytes, dict[str, Any]]:
    """The golden test as the first host answers it, and the figures. Raises NotRehearsed and what calls raise."""
    made = composition_of(version)
    assert made is not None
    source = golden_of(made.base) or golden_of(made.other)
    if source is None:
        raise NotRehearsed(gettext("Neither parent has a golden test, so there are no inputs to ask it."))
    hosts = trials.roomy(trials.remotes_of(bench.trial.endpoint), version)[:HOSTS]
    if not hosts:
        raise NotRehearsed(
            gettext("No host of %(slug)s answers and has room for it in its memory.")
            % {"slug": bench.trial.endpoint.slug}
        )
    for remote in hosts:
        bench.bring(remote, version)
    golden = _recorded(hosts[0], version, source)
    for remote in hosts[1:]:
        found = remote.golden(version, golden)
        if not found.passed:
            raise NotRehearsed(
                gettext(
                    "%(name)s answers %(mismatches)s of %(n)s rows otherwise than %(name_2)s. Find out which of the "
                    "two hosts is wrong."
                )
                % {"name": remote.host.name, "mismatches": found.mismatches, "n": found.n, "name_2": hosts[0].host.name}
            )
    figures = _figures(bench, hosts[0], version, [made.base, made.other])
    figures["rehearsal"] |= {
        "at": database_now().isoformat(timespec="seconds"),
        "endpoint": bench.trial.endpoint.slug,
        "hosts": [remote.host.name for remote in hosts],
        "golden_rows": len(next(iter(golden["inputs"].values()))),
    }
    return json.dumps(golden, sort_keys=True).encode(), figures


def _recorded(remote: Remote, version: Version, source: Mapping[str, Any]) -> dict[str, Any]:
    """The source's inputs with what the version answers to them on the host, decimals as texts.

    Rows whose score lies so near to the head's threshold that rounding could flip the answer are left out.
    """
    columns: dict[str, list[Any]] = {name: list(values) for name, values in source["inputs"].items()}
    rows = len(next(iter(columns.values())))
    outputs: dict[str, list[Any]] = {str(entry["name"]): [] for entry in version.signature["outputs"]}
    for start in range(0, rows, BATCH_ROWS):
        batch = {name: values[start : start + BATCH_ROWS] for name, values in columns.items()}
        answer = remote.infer(batch, version)
        if answer.digest != version.digest:
            raise NotRehearsed(
                gettext("%(name)s answered with %(digest)s, not with %(digest_2)s.")
                % {"name": remote.host.name, "digest": answer.digest[:12], "digest_2": version.digest[:12]}
            )
        for name, values in outputs.items():
            values += [_exact(value) for value in answer.outputs[name]]
    kept = _clear_rows(version, outputs, source, rows)
    if not kept:
        raise NotRehearsed(
            gettext("Every golden row lies at the model's threshold, so none can tell two answers apart.")
        )
    return {
        "format": FORMAT,
        "inputs": {name: [values[row] for row in kept] for name, values in columns.items()},
        "outputs": {name: [values[row] for row in kept] for name, values in outputs.items()},
        "tolerance": source["tolerance"],
    }


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    return value


def _clear_rows(version: Version, outputs: Mapping[str, list[Any]], source: Mapping[str, Any], rows: int) -> list[int]:
    files = list(version.files.filter(component="config").values_list("artifact_id", "path"))
    head = read_json(local(files[0][0]), files[0][1]).get("head") if len(files) == 1 else None
    if not isinstance(head, dict) or head.get("type") != "binary" or head.get("score") not in outputs:
        return list(range(rows))
    threshold, scores = Decimal(str(head["threshold"])), outputs[head["score"]]
    tolerance = tolerance_of(source, head["score"])
    return [row for row in range(rows) if abs(Decimal(scores[row]) - threshold) > tolerance]


def _figures(bench: Bench, remote: Remote, version: Version, parents: list[Version]) -> dict[str, Any]:
    """How often the version is right on its held-out rows, and its parents on the very same rows and host."""
    rows = holdout_rows(version, HOLDOUT_ROWS)
    if rows is None:
        return {"rehearsal": {}}
    labels = numpy_column(rows, live.LABEL).astype(float)
    found: dict[str, Any] = {}
    for one in (version, *parents):
        if one.pk != version.pk and not trials.roomy([remote], one):
            continue
        bench.bring(remote, one)
        found[str(one.number)] = live.share(live.predict(remote, one, live.columns_of(rows, one), len(rows)) == labels)
    own = found.pop(str(version.number))
    return {"holdout": own | {"rows": own["n"]}, "rehearsal": {"parents": found}}
