"""What an app tells the clock: which ids wait for which task. On the lowest floor, so that every app can say it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Due:
    """One source of wake-ups. `ids(now)` returns the ids of the rows that are due at `now` (the database's clock);
    for each of them the clock sends the task named `task` with that id as its only argument to `queue`."""

    task: str
    queue: str
    ids: Callable[[datetime], Iterable[object]]
