"""The Celery application. A task is a wake-up and nothing more: its arguments are ids, and every truth is a row."""

import os

from celery import Celery
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("lastgood")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(name) for name in ("rollback", "intake", "compute", "suites")]
app.autodiscover_tasks()

from config import ears  # noqa: E402, F401  its signals are heard in workers alone
