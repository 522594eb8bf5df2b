from django.apps import AppConfig


class DiagnosingConfig(AppConfig):
    name = "incidents.diagnosing"
    label = "diagnosing"
    default_auto_field = "django.db.models.BigAutoField"
