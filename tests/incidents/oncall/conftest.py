from tests.incidents.telling.conftest import letters, receiver

__all__ = ["letters", "receiver"]
