from django.urls import path

from monitoring.comparing import views

urlpatterns = [
    path("monitoring/endpoints/<slug:slug>/compare/", views.comparison, name="monitoring-compare"),
    path("monitoring/endpoints/<slug:slug>/compare.csv", views.numbers, name="monitoring-compare-csv"),
    path("monitoring/endpoints/<slug:slug>/compare/exact/", views.ask_exactly, name="monitoring-ask-exactly"),
    path("monitoring/endpoints/<slug:slug>/compare/exact/<uuid:pk>/", views.exact, name="monitoring-exact"),
    path(
        "monitoring/endpoints/<slug:slug>/compare/exact/<uuid:pk>/cancel/",
        views.cancel_exact,
        name="monitoring-exact-cancel",
    ),
    path(
        "monitoring/endpoints/<slug:slug>/compare/exact/<uuid:pk>.csv",
        views.exact_numbers,
        name="monitoring-exact-csv",
    ),
]
