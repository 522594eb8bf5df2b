"""Endpoints of the matrix that differ from others in their hosts or versions."""

from registry.actions import place, register_host
from registry.models import Host
from tests.faults.proxy import Proxy
from tests.faults.town import Endpoint, Town
from tests.host.fixtures import TOKEN, HostProcess
from tests.incidents.rollback.fleet import SETUP
from tests.ports import free_port


class WithAHostOfItsOwn(Endpoint):
    """Its third host is an entry of its own for the shared process, behind a proxy that can be down."""

    @property
    def own_name(self) -> str:
        return f"{self.slug}-h3"

    def add_host(self, process: HostProcess, address: str = "") -> Host:
        if process is not self.processes[2]:
            return super().add_host(process, address)
        self.door = Proxy(process.url, free_port())
        host = register_host(
            name=self.own_name, engine="bundled", address=self.door.url, control_token=TOKEN, labels={}, actor=SETUP
        )
        place(endpoint=self.endpoint, host=host, actor=SETUP)
        return host

    def lose(self) -> None:
        self.door.down = True

    def find(self) -> None:
        self.door.down = False


class WithMoreVersions(Endpoint):
    """One to whose versions stories add. Others go forth and back between two, which a plan knows both of, whatever a
    run that was stopped has left its hosts with."""


class OnFurtherHosts(Endpoint):
    """The only endpoint of its hosts, so that a run may take them out of service."""

    @staticmethod
    def processes_in(town: Town) -> list[HostProcess]:
        return town.further_hosts()
