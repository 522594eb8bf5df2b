from django.urls import path

from incidents.working.views import context, matrix, timeline

urlpatterns = [
    path("incidents/severity-matrix/", matrix.severity_matrix, name="severity-matrix"),
    path("incidents/<slug:ref>/context/", context.incident_context, name="incident-context"),
    path("incidents/<slug:ref>/timeline/", timeline.incident_timeline, name="incident-timeline"),
]
