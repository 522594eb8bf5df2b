"""What the clock must wake here: deliveries whose message was lost, windows to open, windows to judge."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Value

from audit.due import Due
from monitoring import partials, partitions, retention
from monitoring.comparing.due import comparisons
from monitoring.inbound import beats
from monitoring.inbound.draining import due_files
from monitoring.models import Delivery, DeliveryState, Monitor, Window, WindowState
from monitoring.rules import evaluate, suppress

Ids = Callable[[datetime], Iterable[object]]
RETRY = timedelta(seconds=10)
MINUTE = timedelta(minutes=1)
PARTIALS = timedelta(seconds=10)
AT_ONCE = 200


def deliveries(now: datetime) -> list[object]:
    """Stored deliveries that nobody has read within RETRY of each attempt."""
    wait = ExpressionWrapper(Value(RETRY) * (F("attempts") + 1), output_field=DurationField())
    due = Delivery.objects.filter(state=DeliveryState.STORED, received_at__lt=now - wait)
    return list(due.order_by("received_at").values_list("pk", flat=True)[:AT_ONCE])


def monitors(now: datetime) -> list[object]:
    """Monitors with a window that has ended and is not yet opened."""
    length = ExpressionWrapper(Value(timedelta(seconds=1)) * F("window_seconds"), output_field=DurationField())
    due = Monitor.objects.filter(enabled=True, next_window_at__lte=now - length)
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def windows(now: datetime) -> list[object]:
    """Open windows whose predictions and labels have had their time, oldest first."""
    due = Window.objects.filter(state=WindowState.OPEN, due_at__lte=now)
    return list(due.order_by("due_at").values_list("pk", flat=True)[:AT_ONCE])


def late_labels(now: datetime) -> list[object]:
    """Judged windows whose accuracy was left for later and is due now, oldest first."""
    due = Window.objects.filter(state=WindowState.JUDGED, labels_due_at__lte=now)
    return list(due.order_by("labels_due_at").values_list("pk", flat=True)[:AT_ONCE])


def each_minute(ids: Ids) -> Ids:
    """The same question, asked anew when its answer is a minute old, for what is dear to find and may wait."""
    return every(MINUTE, ids)


def every(span: timedelta, ids: Ids) -> Ids:
    """The same question, asked anew when its answer is as old as `span`. Each process remembers its own answer; a task
    that was done meanwhile is sent again, and does nothing."""
    asked: list[tuple[datetime, list[object]]] = []

    def remembered(now: datetime) -> list[object]:
        if not asked or not timedelta() <= now - asked[0][0] < span:
            asked[:] = [(now, list(ids(now)))]
        return asked[0][1]

    return remembered


SOURCES = [
    Due(task="monitoring.process", queue="intake", ids=deliveries),
    Due(task="monitoring.take_spooled", queue="intake", ids=due_files),
    Due(task="monitoring.send_beat", queue="intake", ids=beats.due),
    Due(task="monitoring.open_windows", queue="intake", ids=monitors),
    Due(task="monitoring.sketch_partials", queue="compute", ids=every(PARTIALS, partials.due)),
    Due(task="monitoring.judge", queue="compute", ids=windows),
    Due(task="monitoring.judge_labels", queue="compute", ids=late_labels),
    Due(task="monitoring.compare_exactly", queue="compute", ids=comparisons),
    Due(task="monitoring.ask_rule", queue="intake", ids=evaluate.due),
    Due(task="monitoring.ask_suppressed", queue="intake", ids=each_minute(suppress.due)),
    Due(task="monitoring.prune", queue="intake", ids=retention.due_endpoints),
    Due(task="monitoring.empty_delivery", queue="intake", ids=retention.due_deliveries),
    Due(task="monitoring.forget_refusals", queue="intake", ids=retention.due_refusals),
    Due(task="monitoring.make_partition", queue="intake", ids=each_minute(partitions.missing)),
    Due(task="monitoring.drop_partition", queue="intake", ids=each_minute(partitions.outlived)),
]
