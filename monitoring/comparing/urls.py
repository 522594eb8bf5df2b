from django.urls import path

from monitoring.comparing import views

urlpatterns = [
    path("monitoring/endpoints/<slug:slug>/compare/", views.comparison, name="monitoring-compare"),
    path("monitoring/endpoints/<slug:slug>/compare.csv", views.numbers, name="monitoring-compare-csv"),
]
