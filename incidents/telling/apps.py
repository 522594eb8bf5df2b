from django.apps import AppConfig


class TellingConfig(AppConfig):
    name = "incidents.telling"
    label = "telling"
    default_auto_field = "django.db.models.BigAutoField"
