"""What an app tells the clock: which ids wait for which task. On the lowest floor, so that every app can say it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime


def in_turns(keys: Iterable[int], now: datetime, *, most: int, seconds: int) -> list[int]:
    """The keys, in their order; where they are more than `most`, about so many of them, each in its turn of so many
    seconds. So those of which nothing comes keep no other waiting."""
    found = list(keys)
    turns = max(1, -(-len(found) // most))
    turn = int(now.timestamp() // seconds) % turns
    return [key for key in found if key % turns == turn]


@dataclass(frozen=True)
class Due:
    """One source of wake-ups. `ids(now)` returns the ids of the rows that are due at `now` (the database's clock);
    for each of them the clock sends the task named `task` with that id as its only argument to `queue`."""

    task: str
    queue: str
    ids: Callable[[datetime], Iterable[object]]
