"""The verbs on exact comparisons: ask for one, compute it, cancel it."""

import hashlib
import logging
from datetime import timedelta
from uuid import UUID

import pyarrow as pa
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record, service_actor
from audit.dispatch import send_on_commit
from monitoring.comparing import kept
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.comparison import comparison_of
from monitoring.comparing.exactly import exactly
from monitoring.comparing.models import UNFINISHED, ExactComparison, ExactState
from monitoring.comparing.sides import Asked
from monitoring.sketches import TooMuch
from monitoring.store import StoreDamaged

TASK, QUEUE = "monitoring.compare_exactly", "compute"
LEASE = timedelta(minutes=2)
"""Within which a worker says how far it is; after it, another takes the comparison up from its beginning."""
MOST_ATTEMPTS = 3
MOST_UNFINISHED = 5
"""Comparisons of one person's that wait or are computed at once."""
REFUSED = (NothingThere, TooMuch, StoreDamaged)
UNFIT = (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError, MemoryError)

log = logging.getLogger(__name__)


class ExactRefused(ValueError):
    """The comparison is not asked for, or not cancelled. The message says why, and what to do."""


class _Taken(Exception):
    """It was cancelled, or another worker has it."""


@transaction.atomic
def ask_exactly(*, asked: Asked, user: User, actor: Actor) -> ExactComparison:
    """Have both sides compared from every row. One that is the same and not finished is given instead of another.

    Raises ExactRefused where too many of the person's are unfinished.
    """
    User.objects.select_for_update(of=("self",)).get(pk=user.pk)
    sides = kept.told(asked)
    mine = ExactComparison.objects.filter(asked_by=user, state__in=UNFINISHED)
    same = mine.filter(endpoint=asked.endpoint, asked=sides).first()
    if same is not None:
        return same
    if mine.count() >= MOST_UNFINISHED:
        raise ExactRefused(
            gettext("%(most_unfinished)s comparisons that you asked for are not finished. Cancel one, or wait for it.")
            % {"most_unfinished": MOST_UNFINISHED}
        )
    made = ExactComparison.objects.create(endpoint=asked.endpoint, asked=sides, asked_by=user)
    _record("comparison.ask", made, actor, sides=sides)
    send_on_commit(TASK, [str(made.pk)], QUEUE)
    return made


@transaction.atomic
def cancel(*, comparison: ExactComparison, actor: Actor) -> None:
    """Compute it no further: a worker that is at it stops before its next columns. Raises ExactRefused where it has
    ended."""
    open_ = ExactComparison.objects.filter(pk=comparison.pk, state__in=UNFINISHED)
    if not open_.update(state=ExactState.CANCELLED, ended_at=Now()):
        raise ExactRefused(gettext("This comparison has ended. Nothing was changed."))
    _record("comparison.cancel", comparison, actor)


def compute(comparison_id: UUID | str) -> bool:
    """Compute a comparison that is due and keep it. False when another is at it, or it has ended."""
    due = ExactComparison.objects.filter(pk=comparison_id, state__in=UNFINISHED, due_at__lte=Now())
    claimed = due.update(
        state=ExactState.RUNNING, attempts=F("attempts") + 1, due_at=Now() + LEASE, done=0,
        started_at=Coalesce("started_at", Now()),
    )  # fmt: skip
    if not claimed:
        return False
    one = ExactComparison.objects.select_related("endpoint__model").get(pk=comparison_id)
    if one.attempts > MOST_ATTEMPTS:
        return _fail(one, f"It was begun {MOST_ATTEMPTS} times and never finished. Choose a shorter span.")
    asked = kept.asked_of(one.endpoint, one.asked)

    def told(done: int, total: int, rows: int) -> None:
        if not _held(one).update(done=done, total=total, rows=rows, due_at=Now() + LEASE):
            raise _Taken

    try:
        columns, files = exactly(asked, told)
        content = kept.packed(comparison_of(asked, columns), files)
    except _Taken:
        return False
    except REFUSED as refused:
        return _fail(one, str(refused))
    except UNFIT as error:
        log.exception("the comparison %s can't be computed", one.pk)
        return _fail(one, f"These rows can't be compared: {' '.join(str(error).split()) or type(error).__name__}")
    return _finish(one, content)


def _held(one: ExactComparison) -> QuerySet[ExactComparison]:
    """The row as long as this attempt's worker has it."""
    return ExactComparison.objects.filter(pk=one.pk, state=ExactState.RUNNING, attempts=one.attempts)


@transaction.atomic
def _finish(one: ExactComparison, content: bytes) -> bool:
    sha256 = hashlib.sha256(content).hexdigest()
    if not _held(one).update(state=ExactState.DONE, content=content, sha256=sha256, ended_at=Now()):
        return False
    _record("comparison.finish", one, service_actor("monitoring"), sha256=sha256)
    return True


@transaction.atomic
def _fail(one: ExactComparison, problem: str) -> bool:
    if not _held(one).update(state=ExactState.FAILED, problem=problem[:500], ended_at=Now()):
        return False
    _record("comparison.fail", one, service_actor("monitoring"), problem=problem[:500])
    return True


def _record(action: str, one: ExactComparison, actor: Actor, **data: object) -> None:
    target = Target("endpoint", one.endpoint.slug)
    record(action=action, target=target, actor=actor, data={"comparison": str(one.pk), **data})
