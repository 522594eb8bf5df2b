from tests.host.fixtures import host_process

__all__ = ["host_process"]
