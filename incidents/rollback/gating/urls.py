from django.urls import path

from incidents.rollback.gating import views

urlpatterns = [
    path("gates/", views.gate_list, name="gate-list"),
    path("gates/register/", views.gate_register, name="gate-register"),
    path("gates/<int:item>/retire/", views.gate_retire, name="gate-retire"),
    path("gates/askings/<uuid:pk>/", views.asking_detail, name="gate-asking"),
    path("gates/askings/<uuid:pk>/<slug:verb>/", views.asking_act, name="gate-asking-act"),
]
