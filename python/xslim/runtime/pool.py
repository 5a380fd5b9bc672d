"""Threads that work for one caller."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool:
    """Threads that take work in order; an interrupt does not wait for them, nor does the end of the process.

    ``ThreadPoolExecutor`` waits twice, when it is left and when Python ends: a function that hangs would keep
    the process for ever.

    Parameters
    ----------
    workers : int
        Threads at most; they are started as work comes in.
    name : str
        How the threads are called.
    """

    def __init__(self, workers: int, name: str = "xslim") -> None:
        self._workers = workers
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._left: list[Future[Any]] = []

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Hand out one piece of work."""
        future: Future[Result] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(result)

        self._left = [*(other for other in self._left if not other.done()), future]
        self._tasks.put(task)
        if len(self._threads) < self._workers:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=_work, args=(self._tasks,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Hand out the work of all items at once and return the results in their order."""
        futures = [self.submit(lambda item=item: function(item)) for item in items]  # type: ignore[misc]
        return (future.result() for future in futures)

    def __enter__(self) -> Pool:
        """Return the pool; its work ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what has not begun, and wait for the rest unless the user wants an end."""
        del error, trace
        for future in self._left:
            future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            for thread in self._threads:
                thread.join()


def _work(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        # An idle thread holds nothing.
        del task
