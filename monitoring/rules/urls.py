from django.urls import path

from monitoring.rules import views

urlpatterns = [
    path("monitoring/rules/", views.rule_list, name="alert-rules"),
    path("monitoring/rules/new/", views.rule_new, name="alert-rule-new"),
    path("monitoring/rules/<int:pk>/", views.rule_detail, name="alert-rule"),
    path("monitoring/rules/<int:pk>/edit/", views.rule_edit, name="alert-rule-edit"),
    path("monitoring/rules/<int:pk>/retire/", views.rule_retire, name="alert-rule-retire"),
    path("monitoring/alerts/<int:pk>/", views.alert_detail, name="alert-detail"),
    path("monitoring/silences/", views.silence_list, name="silences"),
    path("monitoring/silences/<int:pk>/end/", views.silence_end, name="silence-end"),
]
