"""Is this process alive, is the whole installation ready, and what do its figures say?"""

import hmac
from collections.abc import Callable, Iterable

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from audit.watch import lag, sequencer_state, witnessed
from config import latency
from config.figures import work_figures
from incidents.duties import overdue_and_soon
from monitoring.inbound import beats
from registry import store

QUEUES = ("rollback", "intake", "compute", "suites")
HEARTBEAT_KEY = "lastgood:clock"
CLOCK_SILENCE_SECONDS = 15.0


def broker() -> redis.Redis:
    """A client for the broker that gives up after a second."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1)


def beat() -> None:
    """Leave the clock's heartbeat. Raises redis.RedisError when the broker does not answer."""
    with broker() as client:
        client.set(HEARTBEAT_KEY, repr(_moment(client)))


def clock_age() -> float | None:
    """Seconds since the clock last looked; None when it never did. Raises redis.RedisError."""
    with broker() as client:
        value, now = client.get(HEARTBEAT_KEY), _moment(client)
    return None if value is None else max(0.0, now - float(value))


def _moment(client: redis.Redis) -> float:
    """The broker's time: the clock program and the web processes may each have another."""
    seconds, microseconds = client.time()
    return float(seconds) + microseconds / 1e6


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database, migrations, broker and clock are all well, else 503 that says which is not.

    The log's state and the intake's are told beside them and never make a 503: a rollback is not to wait for a
    signature, and a proxy that took the web process away for it would let no alert in at all.
    """
    answers = {name: _ask(question) for name, question in QUESTIONS.items()}
    ready = all(answer == "ok" for answer in answers.values())
    return JsonResponse(answers | {name: _ask(told) for name, told in BESIDE.items()}, status=200 if ready else 503)


def _ask(question: Callable[[], str]) -> str:
    try:
        return question()
    except (DatabaseError, redis.RedisError, OSError) as error:
        return f"no answer: {type(error).__name__}"


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(waiting)} not applied; run manage.py migrate" if waiting else "ok"


def _broker() -> str:
    with broker() as client:
        client.ping()
    return "ok"


def _clock() -> str:
    age = clock_age()
    if age is None:
        return "never heard; run manage.py clock"
    return "ok" if age < CLOCK_SILENCE_SECONDS else f"silent for {age:.0f} s; look at manage.py clock"


def _log() -> str:
    """In few words, without logins and processes: those stand on the auditors' page."""
    state = sequencer_state()
    if state is not None and state.refused:
        return "refuses to sign; see the auditors' page"
    if state is not None and state.missing:
        return "protected too little; see the auditors' page"
    waiting = lag()
    if waiting.alarm:
        return f"behind by {waiting.seconds:.0f} s; see the auditors' page"
    return "unwitnessed; see the auditors' page" if witnessed().alarm else "ok"


def _intake() -> str:
    """Whether the synthetic alert comes through, in few words; the page of what senders sent says more."""
    standing = beats.standing()
    if standing.ok is None:
        return "not asked; LASTGOOD_BEAT_SECONDS is 0"
    return "ok" if standing.ok else "no alert comes through; see what senders of alerts sent"


def _artifacts() -> str:
    """Whether the place where models' files are kept answers: a rollback to what hosts hold needs it not."""
    try:
        store.place(patient=False).check()
    except store.StoreAddressRefused as error:
        return str(error)
    except store.ArtifactUnavailable:
        return f"no answer from {store.address()}"
    return "ok"


QUESTIONS = {"database": _database, "migrations": _migrations, "broker": _broker, "clock": _clock}
BESIDE = {"log": _log, "intake": _intake, "artifacts": _artifacts}


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """OpenMetrics for Prometheus: to this machine freely, to others with LASTGOOD_METRICS_TOKEN as a bearer token."""
    if not _may_scrape(request):
        return HttpResponse("Send LASTGOOD_METRICS_TOKEN as a bearer token.\n", status=401, content_type="text/plain")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(InstallationCollector())
    latency.add_to(registry)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_scrape(request: HttpRequest) -> bool:
    token = settings.LASTGOOD_METRICS_TOKEN
    if token:
        return hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode())
    # What a proxy on this machine hands on comes from somewhere else.
    handed_on = any(name in request.headers for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via"))
    return not handed_on and request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1")


class InstallationCollector:
    """Figures that are the same whichever web process answers: readiness, the log, duties, work, queues, the clock."""

    def collect(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily("lastgood_ready", "1 where the part answers as it should", labels=["part"])
        for name, question in (QUESTIONS | BESIDE).items():
            ready.add_metric([name], float(_ask(question) == "ok"))
        yield ready
        for figures, errors in (
            (self._log_figures, DatabaseError),
            (self._duty_figures, DatabaseError),
            (work_figures, DatabaseError),
            (self._broker_figures, redis.RedisError),
        ):
            try:
                yield from figures()
            except errors:
                continue

    @staticmethod
    def _log_figures() -> Iterable[Metric]:
        waiting, state, seen = lag(), sequencer_state(), witnessed()
        figures = {
            "lag_seconds": ("Age of the oldest event without a leaf", waiting.seconds),
            "waiting_events": ("Events without a leaf", float(waiting.waiting)),
            "refuses_to_sign": ("1 while the sequencer refuses", float(bool(state and state.refused))),
            "unprotected": ("1 while triggers or grants of the log are missing", float(bool(state and state.missing))),
            "sequencer_silent_seconds": ("Since the sequencer spoke", state.seen_seconds if state else 0.0),
            "unwitnessed_seconds": ("Since the first checkpoint that a witness is missing on", seen.seconds),
        }
        for name, (words, value) in figures.items():
            yield GaugeMetricFamily(f"lastgood_log_{name}", words, value=value)

    @staticmethod
    def _duty_figures() -> Iterable[Metric]:
        owed = GaugeMetricFamily("lastgood_duty_reports", "Reports to authorities by deadline", labels=["deadline"])
        for deadline, count in overdue_and_soon().items():
            owed.add_metric([deadline], float(count))
        yield owed

    @staticmethod
    def _broker_figures() -> Iterable[Metric]:
        waiting = GaugeMetricFamily("lastgood_queue_tasks", "Tasks that wait in a queue", labels=["queue"])
        with broker() as client:
            for queue in QUEUES:
                waiting.add_metric([queue], float(client.llen(queue)))
        yield waiting
        age = clock_age()
        if age is not None:
            yield GaugeMetricFamily("lastgood_clock_age_seconds", "Since the clock last looked", value=age)
