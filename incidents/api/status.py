"""Status pages: made, filled and told something."""

from django.db import IntegrityError
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import user_of
from accounts.problems import Problem
from incidents import status as pages
from incidents.api import serializers as shapes
from incidents.api.common import done, sent
from incidents.models import StatusPage
from incidents.status_json import summary
from incidents.status_readers import may_read
from incidents.status_render import Picture
from incidents.telling import maintenance
from incidents.telling.subscribers import add_webhook


class StatusPageViewSet(viewsets.ReadOnlyModelViewSet[StatusPage]):
    """What readers outside are told."""

    serializer_class = shapes.PageSerializer
    permission_classes = [HasScope]
    required_scope = {
        "create": "admin",
        "partial_update": "admin",
        "components": "admin",
        "webhooks": "admin",
        "post_text": "status.publish",
        "plan_maintenance": "status.publish",
        "*": "view",
    }
    lookup_field = "slug"
    queryset = StatusPage.objects.prefetch_related("components__endpoint", "components__model").order_by("slug")

    def get_queryset(self) -> QuerySet[StatusPage]:
        """The pages that the reader may see."""
        found = super().get_queryset()
        hidden = [page.pk for page in found.filter(public=False) if not may_read(user_of(self.request), page)]
        return found.exclude(pk__in=hidden)

    @extend_schema(request=shapes.PageSerializer, responses={201: shapes.PageSerializer})
    def create(self, request: Request) -> Response:
        typed = {"description": "", "public": True} | sent(request, shapes.PageSerializer)
        try:
            page = done(lambda: pages.create_page(actor=actor_for(request=request), **typed))
        except IntegrityError as taken:
            raise Problem(409, "taken", f"There is a status page {typed['slug']} already.") from taken
        return Response(shapes.PageSerializer(page).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.PageChangeSerializer, responses=shapes.PageSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        """Change what a page is called, who reads it, and whether it tells by itself."""
        typed = sent(request, shapes.PageChangeSerializer)
        seen, page = typed.pop("version"), self.get_object()
        done(lambda: pages.edit_page(page=page, seen_version=seen, actor=actor_for(request=request), **typed))
        return Response(shapes.PageSerializer(self.get_object()).data)

    @extend_schema(request=shapes.MaintenanceSerializer, responses={201: shapes.MaintenanceSerializer})
    @action(detail=True, methods=["post"], url_path="maintenances")
    def plan_maintenance(self, request: Request, slug: str) -> Response:
        """Announce work on some of the page's components."""
        page = self.get_object()
        typed = sent(request, shapes.MaintenanceSerializer)
        for component in typed["components"]:
            self.check_object_permissions(request, component)
        made = done(lambda: maintenance.plan(page=page, by=user_of(request), actor=actor_for(request=request), **typed))
        return Response(shapes.MaintenanceSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.WebhookSerializer, responses={201: shapes.WebhookSerializer})
    @action(detail=True, methods=["post"])
    def webhooks(self, request: Request, slug: str) -> Response:
        """Have posts sent to a program; the answer holds the secret with which they are signed."""
        page = self.get_object()
        typed = sent(request, shapes.WebhookSerializer)
        made, secret = done(lambda: add_webhook(page=page, actor=actor_for(request=request), **typed))
        told = shapes.WebhookSerializer(made).data | {"secret": secret}
        return Response(told, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.ComponentSerializer, responses={201: shapes.ComponentSerializer})
    @action(detail=True, methods=["post"])
    def components(self, request: Request, slug: str) -> Response:
        """Put an endpoint on the page under a name that its readers know."""
        typed = sent(request, shapes.ComponentSerializer)
        page = self.get_object()
        made = done(lambda: pages.add_component(page=page, actor=actor_for(request=request), **typed))
        return Response(shapes.ComponentSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.PostSerializer, responses={201: shapes.PostSerializer})
    @action(detail=True, methods=["post"], url_path="posts")
    def post_text(self, request: Request, slug: str) -> Response:
        """Tell the readers how it stands."""
        typed = sent(request, shapes.PostSerializer)
        page = self.get_object()
        for concerned in (typed["incident"], *typed.get("components", ())):
            self.check_object_permissions(request, concerned)
        made = done(lambda: pages.post(page=page, by=user_of(request), actor=actor_for(request=request), **typed))
        return Response(shapes.PostSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["get"])
    def summary(self, request: Request, slug: str) -> Response:
        """The page in the shape of Statuspage's summary."""
        return Response(summary(Picture(self.get_object())))
