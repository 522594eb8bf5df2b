"""Searching everything, and kept lists of incidents, over the API."""

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import user_of
from incidents.api.common import done, sent
from incidents.working.models import SavedView
from incidents.working.saved import drop_view, save_view, views_for
from incidents.working.search import search


class HitSerializer(serializers.Serializer):
    """`piece` is HTML: escaped text in which the found words stand in `<mark>`."""

    title = serializers.CharField()
    href = serializers.CharField()
    piece = serializers.CharField()


class GroupSerializer(serializers.Serializer):
    name = serializers.CharField()
    hits = HitSerializer(many=True)
    more = serializers.BooleanField()


class SavedViewSerializer(serializers.ModelSerializer[SavedView]):
    """`query` is what stands behind the question mark of a list's address."""

    by = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = SavedView
        fields = ["id", "name", "query", "shared", "by"]


class SearchViewSet(viewsets.ViewSet):
    """One search over incidents, notes, reviews, runbooks, models, endpoints and hosts."""

    permission_classes = [HasScope]
    required_scope = "view"

    @extend_schema(parameters=[OpenApiParameter("q", str)], responses=GroupSerializer(many=True))
    def list(self, request: Request) -> Response:
        """What the text finds, in groups, the best first."""
        return Response(GroupSerializer(search(request.query_params.get("q", "")[:200]), many=True).data)


class SavedViewViewSet(viewsets.ReadOnlyModelViewSet[SavedView]):
    """Lists of incidents that the caller keeps, and those that others share."""

    serializer_class = SavedViewSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    queryset = SavedView.objects.all()

    def get_queryset(self) -> QuerySet[SavedView]:
        if getattr(self, "swagger_fake_view", False):
            return SavedView.objects.none()
        return views_for(user_of(self.request)).order_by("pk")

    @extend_schema(request=SavedViewSerializer, responses={201: SavedViewSerializer})
    def create(self, request: Request) -> Response:
        """Keep a list; one of that name is replaced."""
        typed = sent(request, SavedViewSerializer)
        made = done(lambda: save_view(user=user_of(request), actor=actor_for(request=request), **typed))
        return Response(SavedViewSerializer(made).data, status=status.HTTP_201_CREATED)

    def destroy(self, request: Request, pk: str) -> Response:
        """Forget one of the caller's own."""
        view = self.get_object()
        done(lambda: drop_view(user=user_of(request), pk=view.pk, actor=actor_for(request=request)))
        return Response(status=status.HTTP_204_NO_CONTENT)
