from django.apps import AppConfig


class RollbackConfig(AppConfig):
    name = "incidents.rollback"
    label = "rollback"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.erasure import register_eraser
        from incidents.rollback import subjects
        from incidents.rollback.erasure import erase
        from incidents.rollback.needs import add_needs
        from registry.snapshots.needs import register

        subjects.register_all()
        register_eraser(erase)
        register(add_needs)
