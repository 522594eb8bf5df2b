"""The three hosts of the engine's tests, and the small world of the incidents' tests."""

from tests.incidents.rollback.conftest import doors, fleet, make_fleet, three_hosts

__all__ = ["doors", "fleet", "make_fleet", "three_hosts"]
