"""Where every address leads. Each app brings its own pages; `config/api.py` collects their API."""

from importlib.util import find_spec

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

from config import health

PAGES = (
    "incidents.learning.urls",
    "incidents.working.urls",
    "incidents.grouping.urls",
    "incidents.urls",
    "incidents.telling.urls",
    "incidents.oncall.urls",
    "incidents.practice.urls",
    "incidents.diagnosing.urls",
    "incidents.rollback.urls",
    "incidents.rollback.gating.urls",
    "monitoring.importance.urls",
    "monitoring.pull.urls",
    "monitoring.urls",
    "registry.snapshots.urls",
    "registry.urls",
    "accounts.urls",
    "audit.urls",
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]
urlpatterns.append(path("api/", include("config.api")))
urlpatterns.append(path("accounts/", include("accounts.sign_in_urls")))
urlpatterns += [path("", include(module)) for module in PAGES if find_spec(module)]
if settings.LASTGOOD_DEMO:
    urlpatterns.append(path("demo/", include("demo.urls")))

handler500 = "config.api.server_error"
