"""A pool of threads that can be abandoned while one of them hangs."""

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
    """Daemon threads that take work in order; neither Ctrl-C nor the end of the process waits for them.

    ``ThreadPoolExecutor`` waits for its threads when its block ends and when Python ends, so a function that
    hangs would keep the process alive for ever.

    Parameters
    ----------
    workers : int
        Largest number of threads; each of the first calls starts one.
    name : str
        Name of the threads.
    """

    def __init__(self, workers: int, name: str = "xslim") -> None:
        self._workers = workers
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._left: list[Future[Any]] = []

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Queue a call of the function and return its future."""
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
        """Queue a call for every item at once and return the results in the order of the items."""
        futures = [self.submit(lambda item=item: function(item)) for item in items]  # type: ignore[misc]
        return (future.result() for future in futures)

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel calls that have not begun, and wait for the others unless the user pressed Ctrl-C."""
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
        # While a thread waits for work, it must not keep the last call and its data alive.
        del task
