from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "registry"
    label = "registry"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.erasure import register_eraser
        from audit.holds import register_known
        from registry import acts
        from registry.erasure import erase, model_slug

        acts.register_all()
        register_eraser(erase)
        register_known("model", model_slug)
