"""Threads that work on a run's hosts, each with one database connection for as long as the run is in hand."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

from django.db import connections

Result = TypeVar("Result")


class Hands(Generic[Result]):
    """At most `most` threads, begun as they are needed, for the length of a `with` block. Wave after wave goes on with
    the same ones: a new connection for each host of each wave costs more than its statements."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._tasks: SimpleQueue[tuple[Callable[[], Result], Future[Result]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Hands[Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def do(self, tasks: list[Callable[[], Result]]) -> list[Future[Result]]:
        """Do all of these at once, as far as the threads reach; returns when the last has ended, well or not."""
        futures: list[Future[Result]] = []
        for task in tasks:
            futures.append(Future())
            self._tasks.put((task, futures[-1]))
        while len(self._threads) < min(self.most, len(tasks)):
            self._threads.append(threading.Thread(target=self._work, daemon=True))
            self._threads[-1].start()
        wait(futures)
        return futures

    def _work(self) -> None:
        try:
            while (item := self._tasks.get()) is not None:
                task, future = item
                try:
                    future.set_result(task())
                except BaseException as error:
                    future.set_exception(error)
        finally:
            connections.close_all()
