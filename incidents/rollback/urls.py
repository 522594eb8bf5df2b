from django.urls import path

from incidents.rollback import rehearsal_views, views

urlpatterns = [
    path("rollback/propose/", views.plan_propose, name="plan-propose"),
    path("rollback/plans/<uuid:pk>/", views.plan_detail, name="plan-detail"),
    path("rollback/steer/", views.plan_steer, name="plan-steer"),
    path("rollback/plans/<uuid:pk>/dry-run/", views.plan_dry_run, name="plan-dry-run"),
    path("rollback/plans/<uuid:pk>/<slug:verb>/", views.plan_act, name="plan-act"),
    path("rollback/rehearsals/", rehearsal_views.order, name="rehearsal-order"),
    path("rollback/rehearsals/<uuid:pk>/", rehearsal_views.rehearsal, name="rehearsal"),
    path("rollback/runs/<uuid:pk>/lanes/", views.run_lanes, name="run-lanes"),
    path("rollback/runs/<uuid:pk>/<slug:verb>/", views.run_act, name="run-act"),
]
