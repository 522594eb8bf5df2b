"""Typed reading of the environment. A bad value stops the program with a sentence that names the variable."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


class Env:
    """The variables of one process. An empty value counts as absent."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = os.environ if values is None else values

    def text(self, name: str, default: str | None = None) -> str:
        """The value, else `default`. Raises ImproperlyConfigured when there is neither."""
        value = self.values.get(name) or default
        if value is None:
            raise ImproperlyConfigured(f"Set the environment variable {name}; it has no default.")
        return value

    def secret(self, name: str, default: str | None = None) -> str:
        """Like `text`, but the value may lie in the file that NAME_FILE points to."""
        file = self.values.get(f"{name}_FILE")
        if not file:
            return self.text(name, default)
        if self.values.get(name):
            raise ImproperlyConfigured(f"Set either {name} or {name}_FILE, not both.")
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error.strerror} ({file}).") from None

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.text(name, "1" if default else "0").lower()
        if value not in TRUE_WORDS | FALSE_WORDS:
            raise ImproperlyConfigured(f"{name} is {value!r}; write 1 or 0.")
        return value in TRUE_WORDS

    def integer(self, name: str, default: int, minimum: int = 0, maximum: int = 2**31) -> int:
        value = self.text(name, str(default))
        try:
            number = int(value)
        except ValueError:
            raise ImproperlyConfigured(f"{name} is {value!r}; write a whole number.") from None
        return int(self._within(name, number, minimum, maximum))

    def number(self, name: str, default: float, minimum: float = 0.0, maximum: float = 1e9) -> float:
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            raise ImproperlyConfigured(f"{name} is {value!r}; write a number.") from None
        return self._within(name, number, minimum, maximum)

    def words(self, name: str, default: str = "") -> list[str]:
        """A comma-separated list, stripped, without empty parts."""
        return [word.strip() for word in (self.values.get(name) or default).split(",") if word.strip()]

    @staticmethod
    def _within(name: str, number: float, minimum: float, maximum: float) -> float:
        if not minimum <= number <= maximum:
            raise ImproperlyConfigured(f"{name} is {number}; it must lie between {minimum} and {maximum}.")
        return number


def database(name: str, url: str, options: Mapping[str, object] | None = None) -> dict[str, object]:
    """Django's settings for one `postgresql://user:password@host:port/database?option=value` URL.

    Raises ImproperlyConfigured when the URL names another database system or no database.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(f"{name} must start with postgresql://; Lastgood runs on PostgreSQL only.")
    try:
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured(f"{name} has a port that is not a number.") from None
    database_name = unquote(parts.path.lstrip("/"))
    if not database_name:
        raise ImproperlyConfigured(f"{name} names no database; write postgresql://user:password@host:5432/lastgood.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database_name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **dict(parse_qsl(parts.query)), **(options or {})},
    }
