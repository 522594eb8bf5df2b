"""What gunicorn loads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402

from audit.checks import tell_at_start  # noqa: E402
from config.door import Door  # noqa: E402
from config.written import WrittenPages  # noqa: E402

application = WrittenPages(Door(django_application))
tell_at_start(settings.LASTGOOD_LOG_KEY_FILE or str(settings.LASTGOOD_VAR / "secrets" / "log-key"))
