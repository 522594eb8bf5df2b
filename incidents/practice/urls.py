from django.urls import path

from incidents.practice import views

urlpatterns = [
    path("readiness/", views.board, name="readiness"),
    path("readiness/<slug:slug>/", views.endpoint, name="readiness-endpoint"),
    path("readiness/<slug:slug>/drill/", views.ask_drill, name="readiness-drill"),
    path("readiness/<slug:slug>/schedule/", views.set_schedule, name="readiness-schedule"),
    path("readiness/<slug:slug>/spare/", views.set_up_spare, name="readiness-spare"),
    path("readiness/<slug:slug>/rule/", views.set_rule, name="readiness-rule"),
    path("readiness/<slug:slug>/rule/<slug:verb>/", views.turn_rule, name="readiness-turn-rule"),
    path("readiness/<slug:slug>/by-hand/", views.record_by_hand, name="readiness-by-hand"),
    path("readiness/<slug:slug>/runbook/", views.runbook, name="readiness-runbook"),
]
