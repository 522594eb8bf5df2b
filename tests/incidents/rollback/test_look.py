"""What a worker keeps of what it saw of a host, and when it no longer does."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from incidents.rollback.fleet import NOTHING, Known
from incidents.rollback.work import Work
from registry.serving.base import HostUnreachable


class Door:
    """A host that can be looked at as often as it is given something to show."""

    def __init__(self, *shown: Any) -> None:
        self.shown = list(shown)

    def look(self) -> Any:
        if not self.shown:
            raise HostUnreachable("No connection.")
        return self.shown.pop(0)


def looking(*shown: Any) -> Work:
    known = Known(remotes={7: Door(*shown)})  # type: ignore[dict-item]
    return Work(*[None] * 7, known=known)  # type: ignore[arg-type]


HOST: Any = SimpleNamespace(pk=7)


def test_a_look_of_the_last_half_second_will_do() -> None:
    work = looking(NOTHING)

    assert work.look_at(HOST) is NOTHING
    assert work.look_at(HOST) is NOTHING


def test_an_old_look_will_not() -> None:
    work = looking(NOTHING)
    work.known.seen[7] = (time.monotonic() - 1, NOTHING)

    assert work.look_at(HOST, within=2) is NOTHING
    assert work.look_at(HOST) is NOTHING
    with pytest.raises(HostUnreachable):
        work.look_at(HOST, anew=True)


def test_a_host_that_gave_no_answer_is_not_taken_for_what_it_was_before() -> None:
    work = looking(NOTHING)
    work.look_at(HOST)

    with pytest.raises(HostUnreachable):
        work.look_at(HOST, anew=True)
    with pytest.raises(HostUnreachable):
        work.look_at(HOST, within=2)
