"""What Lastgood says of its own work in `/metrics`: what is due, under way, waiting, wrong; all from rows."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, Min, QuerySet
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from audit.clock import database_now
from incidents.models import OPEN_STATES, Incident
from incidents.rollback.models import ACTIVE_RUN_STATES, Run
from incidents.telling.models import Message, MessageState
from monitoring.inbound import beats
from monitoring.models import Alert, AlertState, Delivery, DeliveryState, Monitor, Window, WindowState
from monitoring.queries import silent_since
from registry.models import Endpoint


def work_figures() -> Iterable[Metric]:
    """Every figure below; a few dozen queries. Raises django.db.Error when the database does not answer."""
    now = database_now()
    yield _due(now)
    yield from _under_way()
    yield from _waiting("deliveries", "Deliveries that nobody has read yet", _stored(), "received_at", now)
    aside = Delivery.objects.filter(state=DeliveryState.UNPARSEABLE, body__isnull=False).count()
    yield _gauge("deliveries_set_aside", "Deliveries that could not be read and wait for a person", aside)
    through = beats.standing().age
    if through is not None:
        yield _gauge(
            "synthetic_alert_age_seconds", "Since the newest synthetic alert that came through was sent", through
        )
    overdue = Window.objects.filter(state=WindowState.OPEN, due_at__lte=now)
    yield from _waiting("windows", "Windows that are due to be judged", overdue, "due_at", now)
    waiting = Message.objects.filter(state=MessageState.WAITING)
    yield from _waiting("messages", "Messages to subscribers that wait to be sent", waiting, "created_at", now)
    given_up = Message.objects.filter(state=MessageState.GIVEN_UP).count()
    yield _gauge("messages_given_up", "Messages to subscribers that no receiver took", given_up)
    watched = Endpoint.objects.filter(pk__in=Monitor.objects.filter(enabled=True).values("endpoint"))
    silent = len(silent_since(watched, now))
    yield _gauge("endpoints_silent", "Watched endpoints of which nothing comes in", silent)


def _due(now: datetime) -> Metric:
    from config.clock import find_sources  # the clock leaves its heartbeat through config.health, which imports this

    due = GaugeMetricFamily("lastgood_due_rows", "Rows whose time has come, at most a few hundred", labels=["task"])
    for source in find_sources():
        due.add_metric([source.task], float(len(source.ids(now))))
    return due


def _under_way() -> Iterable[Metric]:
    runs = GaugeMetricFamily("lastgood_runs", "Runs that are not over, by state", labels=["state"])
    counted = _counted(Run.objects.filter(state__in=ACTIVE_RUN_STATES), "state")
    for state in ACTIVE_RUN_STATES:
        runs.add_metric([state.value], float(counted.get(state.value, 0)))
    yield runs
    for name, words, rows in (
        (
            "incidents_open",
            "Incidents that are not resolved, by severity",
            Incident.objects.filter(state__in=OPEN_STATES),
        ),
        ("alerts_firing", "Alerts that fire, by severity", Alert.objects.filter(state=AlertState.FIRING)),
    ):
        figure = GaugeMetricFamily(f"lastgood_{name}", words, labels=["severity"])
        for severity, count in sorted(_counted(rows, "severity").items()):
            figure.add_metric([str(severity)], float(count))
        yield figure


def _counted(rows: QuerySet, column: str) -> dict[object, int]:
    return dict(rows.order_by(column).values_list(column).annotate(count=Count("pk")))


def _stored() -> QuerySet[Delivery]:
    return Delivery.objects.filter(state=DeliveryState.STORED)


def _waiting(name: str, words: str, rows: QuerySet, since: str, now: datetime) -> Iterable[Metric]:
    found = rows.order_by().aggregate(count=Count("pk"), oldest=Min(since))
    yield _gauge(f"{name}_waiting", words, found["count"])
    age = max(0.0, (now - found["oldest"]).total_seconds()) if found["oldest"] else 0.0
    yield _gauge(f"{name}_oldest_seconds", f"{words}: age of the oldest", age)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"lastgood_{name}", words, value=float(value))
