"""Waking a run whose gate has a new answer."""

from django.db.models import F
from django.db.models.functions import Now

from audit.dispatch import send_on_commit
from incidents.rollback.lease import MOVING
from incidents.rollback.models import Run, Watch, WatchState


def wake(run: Run) -> None:
    """Let the run's gate, or its watch, be asked again at once, and its page be shown anew; in the caller's
    transaction."""
    Run.objects.filter(pk=run.pk).update(version=F("version") + 1)
    Run.objects.filter(pk=run.pk, state__in=MOVING).update(due_at=Now())
    if Watch.objects.filter(run=run, state=WatchState.WATCHING).update(due_at=Now()):
        send_on_commit("rollback.watch", [str(run.pk)], queue="rollback")
    else:
        send_on_commit("rollback.advance", [str(run.pk)], queue="rollback")
