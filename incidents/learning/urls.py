from django.urls import path

from incidents.learning import views

urlpatterns = [
    path("incidents/analytics/", views.analytics, name="incident-analytics"),
    path("incidents/analytics.csv", views.analytics_csv, name="incident-analytics-csv"),
    path("incidents/review-templates/", views.templates, name="review-templates"),
    path("reviews/<slug:ref>/causes/", views.causes, name="review-causes"),
    path("reviews/<slug:ref>/ask/", views.ask, name="review-ask"),
    path("reviews/<slug:ref>/signatures/<int:pk>/", views.answer, name="review-answer"),
]
