"""Every route of the API, from the table of docs/permissions.md."""

from rest_framework.schemas.generators import EndpointEnumerator

from tests.permission_table import API, ROWS, Row

Route = Row
ROUTES = [row for row in ROWS if row.is_api]


def served() -> set[str]:
    """What the program really serves, asked of its URL configuration; HEAD is not listed there."""
    endpoints = EndpointEnumerator(urlconf="config.urls").get_api_endpoints()
    return {f"{method} {path}" for path, method, _ in endpoints if path.startswith(API)}
