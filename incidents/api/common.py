"""What every view of this API does: who asks, what was sent, and refusals as problems."""

from collections.abc import Callable
from typing import Any, TypeVar

from rest_framework import serializers
from rest_framework.request import Request

from accounts.approvals.queries import NoPolicy
from accounts.problems import Problem
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.rollback.plan import PlanRefused

T = TypeVar("T")


def sent(request: Request, serializer: type[serializers.Serializer]) -> dict[str, Any]:
    """The validated body. Raises rest_framework's ValidationError."""
    asked = serializer(data=request.data)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


def done(verb: Callable[[], T]) -> T:
    """What the verb returns; its refusal as a problem."""
    try:
        return verb()
    except Conflict as conflict:
        raise Problem(412, "changed", str(conflict), current=conflict.current) from conflict
    except GuardFailed as failed:
        raise Problem(409, failed.guard.replace("_", "-"), str(failed)) from failed
    except PlanRefused as refused:
        raise Problem(409, refused.code.replace("_", "-"), refused.sentence) from refused
    except (IncidentError, NoPolicy) as refused:
        raise Problem(409, "refused", str(refused)) from refused
