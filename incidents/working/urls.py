from django.urls import path

from incidents.working.views import matrix

urlpatterns = [
    path("incidents/severity-matrix/", matrix.severity_matrix, name="severity-matrix"),
]
