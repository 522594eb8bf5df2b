"""The API under one router: each app brings `router_entries` and, where it has plain views, `api_urlpatterns`."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.routers import SimpleRouter

APPS = ("registry", "monitoring", "incidents", "incidents.rollback", "accounts", "audit")


def _modules() -> list[Any]:
    return [import_module(f"{app}.api") for app in APPS if find_spec(f"{app}.api")]


def _router() -> SimpleRouter:
    router = SimpleRouter()
    for module in _modules():
        for prefix, viewset, basename in module.router_entries:
            router.register(prefix, viewset, basename=basename)
    return router


v1: list[URLPattern | URLResolver] = [
    *(pattern for module in _modules() for pattern in getattr(module, "api_urlpatterns", [])),
    path("", include(_router().urls)),
]

urlpatterns = [
    path("v1/", include(v1)),
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="api-schema"), name="api-docs"),
]
