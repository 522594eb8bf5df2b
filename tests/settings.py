"""Production's settings, on the test run's own servers. Only what would make tests slow is different."""

import os

from tests.services import CHILD, announce, database_of_this_process

services = announce()
# A program that a test starts on a clone keeps what it was given. Whatever else the variables say, a developer's own
# database or, in a worker of xdist, the controller's, no test ever works on it.
if CHILD not in os.environ:
    os.environ.update(services.environment(database_of_this_process()))
    del os.environ[CHILD]

from config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Points of fixed days do not become too old while the tests are kept.
LASTGOOD_METRICS_DAYS = LASTGOOD_METRICS_HOURS_DAYS = 0
