"""Pages of a list: `?page=2&page_size=100`, at most 500 rows each."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request


class Pages(PageNumberPagination):
    page_size_query_param = "page_size"
    max_page_size = 500

    def get_page_size(self, request: Request) -> int:
        """Raises ValidationError for what is no number of rows, rather than guess another one."""
        asked = request.query_params.getlist(self.page_size_query_param)
        if len(asked) > 1 or not all(text.isascii() and text.isdecimal() and int(text[:9]) > 0 for text in asked):
            raise ValidationError({self.page_size_query_param: "Write one whole number from 1 on."})
        return int(super().get_page_size(request))

    def get_page_number(self, request: Request, paginator: Any) -> Any:
        """Raises ValidationError for a page that is asked for and not named."""
        if "" in request.query_params.getlist(self.page_query_param):
            raise ValidationError({self.page_query_param: "Write one whole number from 1 on."})
        return super().get_page_number(request, paginator)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            parameter["schema"] = parameter["schema"] | {"minimum": 1}
        return parameters
