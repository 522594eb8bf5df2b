"""The API for adopting a running engine: look at what is there, and register it where that is asked for."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import user_of
from accounts.problems import Problem
from registry.adopting.actions import Adopted, adopt
from registry.adopting.capture import NotCaptured, checked_rows
from registry.adopting.looking import look
from registry.api_base import doing
from registry.models import Environment
from registry.serving.base import ServingError
from registry.serving.foreign import ENGINES


class AdoptSerializer(serializers.Serializer[Any]):
    """Where an engine is, and how it shall be called here."""

    url = serializers.CharField(
        max_length=200, help_text="Of the engine, such as http://10.0.0.5:8000, without a path."
    )
    engine = serializers.ChoiceField(choices=list(ENGINES), required=False, help_text="Asked of it where not given.")
    token = serializers.CharField(max_length=500, default="", allow_blank=True, write_only=True)
    options = serializers.DictField(child=serializers.CharField(), default=dict, help_text="Of the engine's driver.")
    rows = serializers.JSONField(
        required=False, help_text='Rows to ask, {"model": {"input": [values]}}; made up where there are none.'
    )
    register = serializers.BooleanField(default=False, help_text="Else it is only looked at.")
    name = serializers.SlugField(max_length=50, required=False, help_text="Of the host, needed to register.")
    team = serializers.CharField(max_length=60, default="adopted", help_text="Of models that are new.")
    environment = serializers.ChoiceField(choices=Environment.choices, default=Environment.STAGING)

    def validate_rows(self, value: Any) -> Any:
        try:
            return checked_rows(value)
        except NotCaptured as error:
            raise serializers.ValidationError(str(error)) from error

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["register"] and "name" not in data:
            raise serializers.ValidationError({"name": "Say what the host shall be called."})
        return data


class SeenVersionSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()
    state = serializers.CharField(help_text="serves, loaded or not loaded")
    digest = serializers.CharField()
    opaque = serializers.BooleanField(help_text="The engine gave no files of it.")
    known = serializers.BooleanField(help_text="It is registered already.")
    captured = serializers.CharField(help_text="How its golden test was made, or why there is none.")
    referred = serializers.CharField(help_text="How its reference for drift was made, or why there is none.")


class SeenModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    slug = serializers.CharField()
    versions = SeenVersionSerializer(many=True)
    skipped = serializers.ListField(child=serializers.CharField())
    could = serializers.ListField(child=serializers.CharField(), help_text="What a rollback could do there now.")
    missing = serializers.ListField(child=serializers.CharField())


class SeenSerializer(serializers.Serializer[Any]):
    url = serializers.CharField()
    engine = serializers.CharField()
    release = serializers.CharField()
    lacks = serializers.ListField(child=serializers.CharField(), help_text="What the engine can't be asked.")
    capabilities = serializers.ListField(child=serializers.CharField(), help_text="What its driver can't do.")
    models = SeenModelSerializer(many=True)
    host_known = serializers.BooleanField()
    made = serializers.ListField(child=serializers.CharField(), help_text="What was registered.")
    left = serializers.ListField(child=serializers.CharField(), help_text="What was not, and why.")


class AdoptView(APIView):
    """A running engine: what is there, and what a rollback could do there. Nothing is changed on it."""

    permission_classes = [HasScope]
    required_scope = "registry.write"

    @extend_schema(request=AdoptSerializer, responses={200: SeenSerializer, 201: SeenSerializer})
    def post(self, request: Request) -> Response:
        """Look at it; register what is there where `register` says so. It can be done again."""
        asked = AdoptSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wish = dict(asked.validated_data)
        where = {name: wish[name] for name in ("url", "token", "engine", "options", "rows") if name in wish}
        done = Adopted()
        try:
            seen = doing(look, **where)
            if wish["register"]:
                terms = {name: wish[name] for name in ("name", "team", "environment", "token", "options")}
                done = doing(adopt, seen=seen, **terms, user=user_of(request), actor=actor_for(request=request))
        except ServingError as error:
            raise Problem(status.HTTP_502_BAD_GATEWAY, "engine-failed", str(error)) from error
        told = SeenSerializer(vars(seen) | vars(done)).data
        return Response(told, status=status.HTTP_201_CREATED if wish["register"] else status.HTTP_200_OK)


router_entries: list[Any] = []
api_urlpatterns = [path("adoptions/", AdoptView.as_view(), name="adoptions")]
