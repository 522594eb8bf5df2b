"""Threads that work on a run's hosts, each with one database connection for as long as the run is in hand."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar, cast

from django.db import DatabaseError, connection, connections

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

    def greet(self, tasks: int) -> None:
        """Let as many threads as so many tasks will need connect to the database while something else is waited for."""
        with self._counting:
            missing = min(self.most, tasks) - len(self._threads)
            for _ in range(missing):
                self._add(lambda: connection.ensure_connection())

    def _add(self, first: Callable[[], object] = lambda: None) -> None:
        self._threads.append(threading.Thread(target=self._work, args=[first], daemon=True))
        self._threads[-1].start()

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
                self._add()

    def _work(self, first: Callable[[], object]) -> None:
        try:
            with suppress(DatabaseError):  # the task meets it again, and says so
                first()
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
