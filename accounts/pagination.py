"""Pages of a list: `?page=2&page_size=100`, at most 500 rows each."""

from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    page_size_query_param = "page_size"
    max_page_size = 500
