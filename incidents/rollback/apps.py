from django.apps import AppConfig


class RollbackConfig(AppConfig):
    name = "incidents.rollback"
    label = "rollback"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from incidents.rollback import subjects

        subjects.register_all()
