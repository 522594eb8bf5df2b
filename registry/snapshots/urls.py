from django.urls import path

from registry.snapshots import views

urlpatterns = [
    path("endpoints/<slug:slug>/snapshots/", views.of_endpoint, name="snapshots"),
    path("retention/", views.retention, name="retention"),
    path("snapshots/<int:pk>/", views.detail, name="snapshot"),
    path("snapshots/<int:pk>/keep/", views.keep, name="snapshot-keep"),
]
