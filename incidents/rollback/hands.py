"""Threads that work on a run's hosts, each with one database connection for as long as the run is in hand."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar, cast

from django.db import connections

Result = TypeVar("Result")


class Hands(Generic[Result]):
    """At most `most` threads, begun as they are needed, for the length of a `with` block, which ends when all that was
    taken is done. Wave after wave goes on with the same ones: a new connection for each host of each wave costs more
    than its statements."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._tasks: SimpleQueue[tuple[Callable[[], Result], Future[Result]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._counting = threading.Lock()
        self._left = 0
        self._closed = False

    def __enter__(self) -> "Hands[Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._counting:
            self._closed = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def do(self, tasks: list[Callable[[], Result]]) -> list[Future[Result]]:
        """Do all of these at once, as far as the threads reach; returns when the last has ended, well or not."""
        futures = [self.begin(task) for task in tasks]
        wait(futures)
        return futures

    def begin(self, task: Callable[[], Result], *, after: Future[Result] | None = None) -> Future[Result]:
        """Do this as soon as a thread is free and, where it is to come `after` another, that has ended."""
        future: Future[Result] = Future()
        if after is None:
            self._take(task, future)
        else:
            after.add_done_callback(lambda _: self._take(task, future))
        return future

    def _take(self, task: Callable[[], Result], future: Future[Result]) -> None:
        with self._counting:
            if self._closed:
                future.cancel()
                return
            self._left += 1
            self._tasks.put((task, future))
            if len(self._threads) < min(self.most, self._left):
                self._threads.append(threading.Thread(target=self._work, daemon=True))
                self._threads[-1].start()

    def _work(self) -> None:
        try:
            while (item := self._tasks.get()) is not None:
                self._do(*item)
        finally:
            connections.close_all()

    def _do(self, task: Callable[[], Result], future: Future[Result]) -> None:
        result, error = None, None
        try:
            result = task()
        except BaseException as raised:
            error = raised
        with self._counting:
            self._left -= 1
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(Result, result))
