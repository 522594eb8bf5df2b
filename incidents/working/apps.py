from django.apps import AppConfig


class WorkingConfig(AppConfig):
    name = "incidents.working"
    label = "working"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.erasure import register_eraser
        from incidents.working.erasure import erase

        register_eraser(erase)
