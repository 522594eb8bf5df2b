"""The API of incidents, their evidence and timeline, status pages and reviews: the same verbs as the pages."""

from typing import Any

from incidents.api.finding import SavedViewViewSet, SearchViewSet
from incidents.api.incidents import EvidenceViewSet, IncidentViewSet, UpdateViewSet
from incidents.api.reviews import ReviewViewSet
from incidents.api.status import StatusPageViewSet
from incidents.api.working import RunbookViewSet, SeverityMatrixViewSet
from incidents.learning.api import AnalyticsViewSet, ReviewTemplateViewSet

router_entries: list[tuple[str, type[Any], str]] = [
    ("incidents", IncidentViewSet, "api-incident"),
    ("updates", UpdateViewSet, "api-update"),
    ("evidence", EvidenceViewSet, "api-evidence"),
    ("status-pages", StatusPageViewSet, "api-status-page"),
    ("reviews", ReviewViewSet, "api-review"),
    ("incident-analytics", AnalyticsViewSet, "api-incident-analytics"),
    ("review-templates", ReviewTemplateViewSet, "api-review-template"),
    ("runbooks", RunbookViewSet, "api-runbook"),
    ("saved-views", SavedViewViewSet, "api-saved-view"),
    ("search", SearchViewSet, "api-search"),
    ("severity-matrix", SeverityMatrixViewSet, "api-severity-matrix"),
]
