"""Who reads which status page, and whether letters reach anybody. A public page is for everybody; another for people
who hold one of its roles."""

from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from accounts.models import User
from accounts.permissions import may, user_roles
from incidents.models import StatusPage


def may_read(user: User | AnonymousUser, page: StatusPage) -> bool:
    """Whether the user may read the page; who administers Lastgood reads every one."""
    if page.public:
        return True
    if not isinstance(user, User) or not may(user, "view"):
        return False
    return not page.readers or bool(user_roles(user) & set(page.readers)) or may(user, "admin")


def sends_letters() -> bool:
    """Whether a mail server is set up. Without one a letter is printed where the worker runs, and reaches nobody."""
    return bool(settings.EMAIL_BACKEND != "django.core.mail.backends.console.EmailBackend")


def readable(user: User | AnonymousUser, pages: Iterable[StatusPage]) -> list[StatusPage]:
    return [page for page in pages if may_read(user, page)]
