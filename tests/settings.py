"""Production's settings, on the test run's own servers. Only what would make tests slow is different."""

import os

from tests.services import announce, database_of_this_process

services = announce()
_inherited = "PYTEST_XDIST_WORKER" in os.environ  # a worker of xdist gets the controller's variables, with its database
for _name, _value in services.environment(database_of_this_process()).items():
    if _inherited or _name not in os.environ:
        os.environ[_name] = _value

from config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
