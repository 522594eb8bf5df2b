from django.apps import AppConfig


class LearningConfig(AppConfig):
    name = "incidents.learning"
    label = "learning"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.erasure import register_eraser
        from incidents.learning.erasure import erase

        register_eraser(erase)
