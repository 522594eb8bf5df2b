from django.urls import path

from incidents.practice import views

urlpatterns = [
    path("readiness/", views.board, name="readiness"),
    path("readiness/<slug:slug>/", views.endpoint, name="readiness-endpoint"),
    path("readiness/<slug:slug>/drill/", views.ask_drill, name="readiness-drill"),
    path("readiness/<slug:slug>/schedule/", views.set_schedule, name="readiness-schedule"),
    path("readiness/<slug:slug>/spare/", views.set_up_spare, name="readiness-spare"),
]
