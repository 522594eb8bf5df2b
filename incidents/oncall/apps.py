from django.apps import AppConfig


class OnCallConfig(AppConfig):
    name = "incidents.oncall"
    label = "oncall"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import oncall
        from audit.erasure import register_eraser
        from incidents.oncall.duty import people_of_team
        from incidents.oncall.erasure import erase

        oncall.register(people_of_team)
        register_eraser(erase)
