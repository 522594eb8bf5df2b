"""The API under one router: each app brings `router_entries` and, where it has plain views, `api_urlpatterns`."""

import functools
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.defaults import server_error as default_server_error
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from accounts.problems import problem_response

APPS = (
    "registry",
    "registry.adopting",
    "registry.snapshots",
    "monitoring",
    "monitoring.importance",
    "monitoring.pull",
    "incidents",
    "incidents.grouping",
    "incidents.rollback",
    "incidents.rollback.gating",
    "incidents.oncall",
    "incidents.practice",
    "incidents.diagnosing",
    "accounts",
    "audit",
)


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


@csrf_exempt
def unknown_address(request: HttpRequest, path: str) -> HttpResponse:
    """A program that asks below /api/ for what is not there gets a problem, not a page."""
    return problem_response(
        request, 404, "not-found", "There is nothing at this address. /api/docs/ lists what there is."
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """The project's answer where something broke: a problem for programs, a page for people."""
    if request.path.startswith("/api/"):
        return problem_response(
            request, 500, "internal", "Something broke on our side. Try again, or tell whoever runs this."
        )
    return default_server_error(request)


@functools.cache
def _description() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)


class KeptSchema(SchemaGenerator):
    """The description is the same for everybody while the program runs, so it is made once, when first asked for."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        return _description()


urlpatterns = [
    path("v1/", include(v1)),
    path("schema/", SpectacularAPIView.as_view(generator_class=KeptSchema), name="api-schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("<path:path>", unknown_address),
]
