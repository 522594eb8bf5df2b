from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "registry"
    label = "registry"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.erasure import register_eraser
        from registry.erasure import erase

        register_eraser(erase)
        from registry import acts

        acts.register_all()
