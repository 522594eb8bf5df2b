from django.apps import AppConfig


class ImportanceConfig(AppConfig):
    name = "monitoring.importance"
    label = "importance"
    default_auto_field = "django.db.models.BigAutoField"
