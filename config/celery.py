"""The Celery application. A task is a wake-up and nothing more: its arguments are ids, and every truth is a row."""

import os

from celery import Celery
from celery.signals import task_prerun
from django.utils import translation
from kombu import Queue

from audit.english import ENGLISH

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("lastgood")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(name) for name in ("rollback", "intake", "compute", "suites")]
app.autodiscover_tasks()


@task_prerun.connect
def in_the_language_of_the_record(**_signal: object) -> None:
    """What a worker writes is kept and read by everybody, as why a run halted. Pages for readers outside are written in
    the language of these readers."""
    translation.activate(ENGLISH)


from config import ears  # noqa: E402, F401  its signals are heard in workers alone
