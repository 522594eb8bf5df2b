from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import accounts.approvals.policies
        import accounts.schema  # noqa: F401 (registers itself)
        from accounts import credentials
        from accounts.erasure.actions import erase_account
        from accounts.queries import find_people, names_of, pseudonym_of
        from audit import names
        from audit.erasure import register_eraser
        from audit.holds import register_known

        names.register(names_of)
        names.register_finder(find_people)
        credentials.connect()
        register_eraser(erase_account)
        register_known("subject", pseudonym_of)
