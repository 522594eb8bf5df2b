"""Post-incident reviews."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.problems import Problem
from incidents import reviews
from incidents.api import serializers as shapes
from incidents.api.common import done, sent
from incidents.learning.api import SCOPES, LearningVerbs
from incidents.models import Review
from incidents.review_export import as_html, as_markdown


class ReviewViewSet(LearningVerbs, viewsets.ReadOnlyModelViewSet[Review]):
    """The review of an incident, by the incident's reference."""

    serializer_class = shapes.ReviewSerializer
    permission_classes = [HasScope]
    required_scope = {
        "edit": "incident.respond",
        "action_items": "incident.respond",
        "finish_item": "incident.respond",
        "publish": "incident.command",
        **SCOPES,
        "*": "view",
    }
    filterset_fields = ["state"]
    lookup_field = "incident__ref"
    lookup_url_kwarg = "ref"
    queryset = Review.objects.select_related("incident").prefetch_related("action_items__owner").order_by("-pk")

    @extend_schema(request=shapes.ReviewEditSerializer, responses=shapes.ReviewSerializer)
    @action(detail=True, methods=["post"])
    def edit(self, request: Request, ref: str) -> Response:
        """Replace sections; refused when somebody else did since `version`."""
        texts = sent(request, shapes.ReviewEditSerializer)
        seen = texts.pop("version")
        review = self.get_object()
        done(lambda: reviews.edit(review=review, texts=texts, seen_version=seen, actor=actor_for(request=request)))
        return self._shown()

    @extend_schema(request=shapes.ActionItemSerializer, responses={201: shapes.ActionItemSerializer})
    @action(detail=True, methods=["post"], url_path="action-items")
    def action_items(self, request: Request, ref: str) -> Response:
        typed = {"due_on": None} | sent(request, shapes.ActionItemSerializer)
        review = self.get_object()
        made = done(lambda: reviews.add_action_item(review=review, actor=actor_for(request=request), **typed))
        return Response(shapes.ActionItemSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=shapes.ReviewSerializer)
    @action(detail=True, methods=["post"], url_path=r"action-items/(?P<item>\d+)/done")
    def finish_item(self, request: Request, ref: str, item: str) -> Response:
        """An action item is done."""
        found = self.get_object().action_items.filter(pk=int(item)).first()
        if found is None:
            raise Problem(404, "not-found", f"The review of {ref} has no action item {item}.")
        done(lambda: reviews.finish_action_item(item=found, actor=actor_for(request=request)))
        return self._shown()

    @extend_schema(request=shapes.SeenSerializer, responses=shapes.ReviewSerializer)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, ref: str) -> Response:
        """Close the text, with the log's newest checkpoint in it."""
        seen = sent(request, shapes.SeenSerializer).get("version")
        review = self.get_object()
        done(lambda: reviews.publish(review=review, actor=actor_for(request=request), seen_version=seen))
        return self._shown()

    @extend_schema(responses={(200, "text/markdown"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"])
    def markdown(self, request: Request, ref: str) -> HttpResponse:
        """The review with its timeline, as Markdown."""
        return HttpResponse(as_markdown(self.get_object()), content_type="text/markdown; charset=utf-8")

    @extend_schema(responses={(200, "text/html"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"])
    def html(self, request: Request, ref: str) -> HttpResponse:
        """The review with its timeline, as a page of its own for people who can't reach Lastgood."""
        return HttpResponse(as_html(self.get_object()))

    def _shown(self) -> Response:
        return Response(shapes.ReviewSerializer(self.get_object()).data)
