"""What the registry's API stands on: one shape of views, and refusals as problems."""

from collections.abc import Callable
from typing import Any

from rest_framework import mixins, serializers, status, viewsets
from rest_framework.response import Response

from accounts.api import HasScope
from accounts.approvals.acts import ActRefused
from accounts.problems import Problem
from registry import actions, store
from registry.serving.allow import AddressRefused


def doing(change: Callable[..., Any], **arguments: Any) -> Any:
    """Do a change of the registry; what it refuses becomes a problem: 409 for what is there already, else 422."""
    try:
        return change(**arguments)
    except store.TooLarge:
        raise
    except ActRefused as error:
        raise Problem(status.HTTP_409_CONFLICT, error.code.replace("_", "-"), error.sentence) from error
    except actions.AlreadyThere as error:
        raise Problem(status.HTTP_409_CONFLICT, "already-there", str(error)) from error
    except AddressRefused as error:
        raise Problem(status.HTTP_422_UNPROCESSABLE_ENTITY, "address-refused", str(error)) from error
    except store.ArtifactUnavailable as error:
        raise Problem(status.HTTP_503_SERVICE_UNAVAILABLE, "store-unavailable", str(error)) from error
    except ValueError as error:
        raise Problem(status.HTTP_422_UNPROCESSABLE_ENTITY, "refused", str(error)) from error


def slug_of(model: type[Any], field: str = "slug") -> serializers.SlugRelatedField:
    return serializers.SlugRelatedField(slug_field=field, queryset=model.objects.all())


class RegistryViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Reading needs `view`, every change `registry.write`, but for what an incident's commander may do."""

    permission_classes = [HasScope]
    required_scope: Any = {"list": "view", "retrieve": "view", "*": "registry.write"}

    def ask(self, serializer: type[serializers.Serializer]) -> dict[str, Any]:
        asked = serializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        return dict(asked.validated_data)

    def shown(self, row: Any, code: int = status.HTTP_200_OK) -> Response:
        fresh = self.get_queryset().get(pk=row.pk)
        return Response(self.get_serializer(fresh).data, status=code)
