"""The verbs on a version's importance: take it up once the version is registered, measure it, ask for it again."""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record, service_actor
from audit.dispatch import send_on_commit
from monitoring.drift.importance import weights_of
from monitoring.importance.answering import NobodyAnswers
from monitoring.importance.measuring import Turn, take_turn
from monitoring.importance.models import UNFINISHED, Importance, ImportanceState
from monitoring.profiles import given_weights
from monitoring.quality.declared import UNFIT
from registry.models import Version
from registry.serving.base import ServingError
from registry.store import ArtifactUnavailable

TASK, QUEUE = "importance.measure", "compute"
LEASE = timedelta(minutes=10)
"""After which another worker takes it up where this one said nothing."""
MOST_ATTEMPTS = 3
WAIT = timedelta(minutes=1)
"""Before it is tried again where a host did not answer; so many times as long after each further attempt."""
NAMES_IN_EVENT = 200
WORKER = service_actor("monitoring")

log = logging.getLogger(__name__)


class ImportanceRefused(ValueError):
    """It is not measured. The message says why, and what to do."""


def begin(*, version_id: int) -> Importance | None:
    """Take up a version that has a holdout set, once: one whose profile has an importance is marked so, any other is to
    be measured. None where it is taken up already, or has no holdout set."""
    version = Version.objects.select_related("model").filter(pk=version_id, holdout__isnull=False).first()
    if version is None:
        return None
    try:
        given = bool(given_weights(version))
    except UNFIT:
        log.exception("the profile of %s can't be read", version)
        given = False
    return _open(version, ImportanceState.GIVEN if given else ImportanceState.WAITING, WORKER)


def ask(*, version: Version, actor: Actor) -> Importance:
    """Have the importance of a version measured, or measured again where it could not be. One that is measured, or is
    just being so, is given as it is. Raises ImportanceRefused where there is nothing to measure it on, or it came with
    the profile."""
    if version.holdout_id is None:
        raise ImportanceRefused(
            gettext(
                "Version %(number)s has no holdout set, so there are no rows to measure it on. Give it one, on its "
                "page or by the API."
            )
            % {"number": version.number}
        )
    if given_weights(version):
        raise ImportanceRefused(
            gettext("The importance of version %(number)s came with its profile, and is used as it came.")
            % {"number": version.number}
        )
    made = _open(version, ImportanceState.WAITING, actor)
    if made is not None:
        return made
    with transaction.atomic():
        open_ = Importance.objects.filter(version=version, state__in=[ImportanceState.FAILED, ImportanceState.NOWHERE])
        anew = open_.update(
            state=ImportanceState.WAITING, reason="", losses={}, attempts=0, seconds=0, turn=F("turn") + 1,
            asked_by=actor.id, asked_at=Now(), due_at=Now(),
        )  # fmt: skip
        one = Importance.objects.get(version=version)
        if anew:
            _ordered(one, actor)
    return one


@transaction.atomic
def _open(version: Version, state: ImportanceState, actor: Actor) -> Importance | None:
    """The version's row where it had none; None where it has one."""
    one, made = Importance.objects.get_or_create(version=version, defaults={"state": state, "asked_by": actor.id})
    if not made:
        return None
    if state == ImportanceState.GIVEN:
        _record("version.importance", version, actor, measured_by="profile", profile=version.profile_id)
    else:
        _ordered(one, actor)
    return one


def _ordered(one: Importance, actor: Actor) -> None:
    _record("version.importance.order", one.version, actor, holdout=one.version.holdout_id)
    send_on_commit(TASK, [one.pk], QUEUE)


def measure(*, importance_id: int) -> bool:
    """Take a turn at an importance that is due, and keep what came of it. False when another worker is at it, or it is
    measured."""
    due = Importance.objects.filter(pk=importance_id, state__in=UNFINISHED, due_at__lte=Now())
    if not due.update(due_at=Now() + LEASE, turn=F("turn") + 1, attempts=F("attempts") + 1):
        return False
    one = Importance.objects.select_related("version__model").get(pk=importance_id)
    if one.attempts > MOST_ATTEMPTS:
        return _fail(one, one.reason or gettext("It was begun three times and did not come to an end."))
    try:
        return _keep(one, take_turn(one))
    except NobodyAnswers as why:
        return _put_off(one, str(why))
    except (ServingError, ArtifactUnavailable) as error:
        held = _held(one).update(reason=str(error)[:500], due_at=Now() + WAIT * one.attempts)
        return bool(held)
    except (*UNFIT, ArithmeticError, MemoryError) as error:
        log.info("importance.failed version=%s error=%s", one.version_id, error)
        return _fail(one, " ".join(str(error).split()) or type(error).__name__)


def _held(one: Importance) -> QuerySet[Importance]:
    """The row as long as this turn's worker has it."""
    return Importance.objects.filter(pk=one.pk, state__in=UNFINISHED, turn=one.turn)


@transaction.atomic
def _keep(one: Importance, turn: Turn) -> bool:
    losses = {name: {"loss": found.loss, "error": found.error} for name, found in turn.losses.items()}
    kept = {
        "answered_by": turn.by, "metric": turn.metric, "baseline": turn.baseline, "rows": turn.rows,
        "repeats": turn.repeats, "columns": turn.columns, "losses": losses, "seconds": F("seconds") + turn.seconds,
        "attempts": 0, "reason": "", "state": ImportanceState.WAITING, "due_at": Now() + timedelta(seconds=turn.rest),
    }  # fmt: skip
    if not turn.is_done:
        found = bool(_held(one).update(**kept))
        if found and not turn.rest:
            send_on_commit(TASK, [one.pk], QUEUE)
        return found
    weights = weights_of(turn.losses)
    kept |= {"state": ImportanceState.DONE, "weights": weights, "done_at": Now()}
    if not _held(one).update(**kept):
        return False
    most = sorted(weights, key=lambda name: -weights[name])[:NAMES_IN_EVENT]
    _record(
        "version.importance",
        one.version,
        WORKER,
        measured_by=turn.by or "worker",
        holdout=one.version.holdout_id,
        metric=turn.metric,
        baseline=f"{turn.baseline:.6f}",
        rows=turn.rows,
        repeats=turn.repeats,
        columns=turn.columns,
        weights={name: f"{weights[name]:.4f}" for name in most},
    )
    return True


def _put_off(one: Importance, reason: str) -> bool:
    """Until a host serves the version, which the clock sees."""
    held = _held(one)
    return bool(held.update(state=ImportanceState.NOWHERE, reason=reason[:500], attempts=0, due_at=Now() + WAIT))


@transaction.atomic
def _fail(one: Importance, reason: str) -> bool:
    if not _held(one).update(state=ImportanceState.FAILED, reason=reason[:500]):
        return False
    _record("version.importance", one.version, WORKER, outcome="failed", why=reason[:500])
    return True


def _record(action: str, version: Version, actor: Actor, outcome: str = "success", **data: object) -> None:
    target = Target("version", f"{version.model.slug}/{version.number}", version.digest)
    facts = {"digest": version.digest, **data}
    record(action=action, target=target, actor=actor, data=facts, outcome=outcome)
