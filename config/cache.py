"""What the web processes count together for a few minutes, such as failed sign-ins, or need not work out twice: in
Redis, and in each process's own memory while Redis does not answer. Nothing that matters is kept here."""

import json
import logging
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class JsonSerializer:
    """Values as JSON: who can write into Redis must not be able to run code here, as unpickling would let them."""

    def dumps(self, value: Any) -> int | bytes:
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class SharedCache(RedisCache):
    """Django's cache in Redis, whose loss slows nobody down and lets nobody in."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._memory = LocMemCache("lastgood", {})

    def _ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        asked: Callable[..., Any] = getattr(super(), name)
        try:
            return asked(*arguments, **named)
        except RedisError as error:
            logger.warning("cache.unavailable error=%s", type(error).__name__)
            return getattr(self._memory, name)(*arguments, **named)

    def add(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("add", *arguments, **named)

    def get(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("get", *arguments, **named)

    def set(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("set", *arguments, **named)

    def incr(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("incr", *arguments, **named)

    def touch(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("touch", *arguments, **named)

    def delete(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("delete", *arguments, **named)

    def has_key(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("has_key", *arguments, **named)

    def clear(self) -> None:
        """Forget what was counted, and nothing else that lies in this Redis: the broker's queues do."""
        client = self._cache.get_client(None, write=True)
        for key in client.scan_iter(match=self.make_key("*")):
            client.delete(key)
        self._memory.clear()
