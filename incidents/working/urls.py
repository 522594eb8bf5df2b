from django.urls import path

from incidents.working.views import context, finding, library, matrix, timeline, work

urlpatterns = [
    path("search/", finding.find, name="search"),
    path("incidents/views/", finding.save, name="incident-view-save"),
    path("incidents/views/<int:pk>/drop/", finding.drop, name="incident-view-drop"),
    path("incidents/severity-matrix/", matrix.severity_matrix, name="severity-matrix"),
    path("incidents/<slug:ref>/context/", context.incident_context, name="incident-context"),
    path("incidents/<slug:ref>/timeline/", timeline.incident_timeline, name="incident-timeline"),
    path("incidents/<slug:ref>/work/", work.incident_work, name="incident-work"),
    path("runbooks/", library.library, name="runbook-library"),
    path("runbooks/new/", library.new, name="runbook-new"),
    path("runbooks/<slug:slug>/", library.detail, name="runbook-detail"),
    path("runbooks/<slug:slug>/edit/", library.edit, name="runbook-edit"),
    path("runbooks/<slug:slug>/retire/", library.retire, name="runbook-retire"),
]
