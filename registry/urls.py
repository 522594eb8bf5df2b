from django.urls import path

from registry import artifact_views, composing_views, views
from registry.adopting.views import adopt_engine

urlpatterns = [
    path("adopt/", adopt_engine, name="adopt"),
    path("artifacts/<slug:sha256>/", artifact_views.artifact, name="artifact"),
    path("endpoints/", views.endpoint_list, name="endpoint-list"),
    path("endpoints/<slug:slug>/", views.endpoint_detail, name="endpoint-detail"),
    path("endpoints/<slug:slug>/placements/", views.endpoint_placements, name="endpoint-placements"),
    path("endpoints/<slug:slug>/<slug:verb>/", views.endpoint_act, name="endpoint-act"),
    path("endpoints/<slug:slug>/hosts/<slug:name>/<slug:verb>/", views.host_act, name="host-act"),
    path("models/", views.model_list, name="model-list"),
    path("models/<slug:slug>/", views.model_detail, name="model-detail"),
    path("models/<slug:slug>/tensors/<int:left>/<int:right>/", views.tensors, name="model-tensors"),
    path("models/<slug:slug>/compose/", composing_views.compose, name="model-compose"),
    path("models/<slug:slug>/compositions/<int:number>/", composing_views.composition, name="model-composition"),
    path("models/<slug:slug>/<int:number>/", views.version_detail, name="version-detail"),
    path("models/<slug:slug>/<int:number>/holdout/", views.version_holdout, name="version-holdout"),
]
