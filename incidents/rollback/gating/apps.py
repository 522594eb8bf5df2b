from django.apps import AppConfig


class GatingConfig(AppConfig):
    name = "incidents.rollback.gating"
    label = "gating"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.erasure import register_eraser
        from incidents.rollback.gating import acts
        from incidents.rollback.gating.erasure import erase

        acts.register_all()
        register_eraser(erase)
