"""A PostgreSQL and a Redis of one test file's own, which may be killed: what was committed survives that."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from config.embedded.postgres import INSTALLED, PACKAGE, SUPERUSER, Cluster
from tests.ports import free_port
from tests.services import FAST, PREFIX, TEMPLATE, Services

DATABASE = 1
"""Of the children that Services starts, broker first."""


class Durable(Services):
    """As fast as the run's own servers, but COMMIT is answered when the record of it can't be lost with the server."""

    @property
    def cluster(self) -> Cluster:
        settings = FAST | {"synchronous_commit": "on"}
        return Cluster(self.directory / "postgres", self.directory / "secrets", self.database_port, settings)

    def copy_template(self, source: Services) -> None:
        """The migrated template with its grants, from the run's own cluster."""
        self.cluster.make_database(TEMPLATE)
        dump = self.directory / "template.dump"
        package = find_spec(PACKAGE)
        assert package is not None
        assert package.origin is not None
        tools = Path(package.origin).parent.parent / INSTALLED / "bin"
        origin, target = (services.cluster.url(SUPERUSER, TEMPLATE) for services in (source, self))
        subprocess.run([tools / "pg_dump", "-Fc", "-f", dump, origin], check=True, capture_output=True)
        subprocess.run([tools / "pg_restore", "-d", target, dump], check=True, capture_output=True)

    def stop_database(self, number: int = signal.SIGQUIT) -> None:
        """End it: SIGQUIT leaves all connections at once and recovers at the next start, as after a crash."""
        database = self.children[DATABASE]
        database.send_signal(number)
        database.wait(30)

    def start_database(self) -> None:
        cluster = self.cluster
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        self.children[DATABASE] = cluster.program().spawn(self.directory / "run", self.directory / "database.log")
        cluster.wait()


@contextmanager
def durable_services(source: Services) -> Iterator[Durable]:
    # Named after the process that owns the run's own services, so that whoever cleans up after it finds this as well.
    owner = source.directory.name.removeprefix(PREFIX).partition("-")[0]
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-", dir=source.directory.parent))
    (directory / "secrets").mkdir(mode=0o700)
    shutil.copy2(source.directory / "seal-key", directory / "seal-key")  # this process seals with it, too
    first = free_port()
    made = Durable(directory, first, free_port(not_in=frozenset({first})))
    try:
        made.start()
        made.copy_template(source)
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def led_to(services: Services, name: str) -> Iterator[None]:
    """Lead every alias of this process to a database of another cluster, for the length of a block."""
    from django.conf import settings
    from django.db import connections

    logins = {"default": "lastgood_app", "owner": "lastgood_owner", "sequencer": "lastgood_sequencer"}
    keys = ("NAME", "PORT", "PASSWORD")
    before = {alias: {key: connections[alias].settings_dict[key] for key in keys} for alias in logins}

    def lead(there: dict[str, dict[str, object]]) -> None:
        connections.close_all()
        for alias, values in there.items():
            connections[alias].settings_dict.update(values)
            settings.DATABASES[alias].update(values)

    def place(login: str) -> dict[str, object]:
        url = urlsplit(services.cluster.url(login, name))
        return {"NAME": name, "PORT": str(url.port), "PASSWORD": unquote(url.password or "")}

    lead({alias: place(login) for alias, login in logins.items()})
    try:
        yield
    finally:
        lead(before)
