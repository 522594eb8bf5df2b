"""Filters of lists, from the query of an address."""

from typing import Any

from django_filters import BooleanFilter
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

TRUTHS = frozenset({"true", "false", "True", "False"})


class StrictFilterBackend(DjangoFilterBackend):
    """Refuses what is neither true nor false where one of the two is asked for. Django-filter takes it as not given, so
    that a slip in the address would list everything.
    """

    def get_filterset(self, request: Request, queryset: Any, view: Any) -> Any:
        """The filters that count. Raises ValidationError, by the name of each filter that can't be read."""
        filters = super().get_filterset(request, queryset, view)
        if filters is not None:
            slips = {
                name: ["Send true or false, or leave it out."]
                for name, one in filters.filters.items()
                if isinstance(one, BooleanFilter) and not TRUTHS.issuperset(request.query_params.getlist(name))
            }
            if slips:
                raise ValidationError(slips)
        return filters
