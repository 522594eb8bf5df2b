"""Status pages: made, filled and told something."""

from django.db import IntegrityError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.problems import Problem
from incidents import status as pages
from incidents.api import serializers as shapes
from incidents.api.common import done, person, sent
from incidents.models import StatusPage
from incidents.status_json import summary
from incidents.status_render import Picture


class StatusPageViewSet(viewsets.ReadOnlyModelViewSet[StatusPage]):
    """What readers outside are told."""

    serializer_class = shapes.PageSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "admin", "components": "admin", "post_text": "status.publish", "*": "view"}
    lookup_field = "slug"
    queryset = StatusPage.objects.prefetch_related("components__endpoint").order_by("slug")

    @extend_schema(request=shapes.PageSerializer, responses={201: shapes.PageSerializer})
    def create(self, request: Request) -> Response:
        typed = {"description": "", "public": True} | sent(request, shapes.PageSerializer)
        try:
            page = pages.create_page(actor=actor_for(request=request), **typed)
        except IntegrityError as taken:
            raise Problem(409, "taken", f"There is a status page {typed['slug']} already.") from taken
        return Response(shapes.PageSerializer(page).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.ComponentSerializer, responses={201: shapes.ComponentSerializer})
    @action(detail=True, methods=["post"])
    def components(self, request: Request, slug: str) -> Response:
        """Put an endpoint on the page under a name that its readers know."""
        typed = sent(request, shapes.ComponentSerializer)
        made = pages.add_component(page=self.get_object(), actor=actor_for(request=request), **typed)
        return Response(shapes.ComponentSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.PostSerializer, responses={201: shapes.PostSerializer})
    @action(detail=True, methods=["post"], url_path="posts")
    def post_text(self, request: Request, slug: str) -> Response:
        """Tell the readers how it stands."""
        typed = sent(request, shapes.PostSerializer)
        page = self.get_object()
        self.check_object_permissions(request, typed["incident"])
        made = done(lambda: pages.post(page=page, by=person(request), actor=actor_for(request=request), **typed))
        return Response(shapes.PostSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["get"])
    def summary(self, request: Request, slug: str) -> Response:
        """The page in the shape of Statuspage's summary."""
        return Response(summary(Picture(self.get_object())))
