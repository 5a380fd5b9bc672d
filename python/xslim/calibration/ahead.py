"""Compute the next items in threads while the caller uses the current one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from xslim.runtime import Pool

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    held: int | None = None,
    name: str = "xslim-decode",
) -> Iterator[Result]:
    """Map a function in threads and yield the results in order; some are computed ahead of the caller.

    Parameters
    ----------
    function : callable
        Must be safe to call from several threads when `workers` is above 1.
    items : iterable
        The items; an item is read only when its work is queued.
    workers : int
        Number of threads; with 0, the function runs in the caller's thread, only when a result is requested.
    held : int, optional
        Largest number of results that are being computed or not yet taken; by default ``workers + 1``, so
        that no thread is idle while the caller is busy.
    name : str
        Name of the threads.

    Yields
    ------
    The results. An exception of `function` is raised in the place of its result. If the iteration ends
    early, work that has not begun is cancelled.
    """
    if workers < 1:
        yield from map(function, items)
        return
    held = workers + 1 if held is None else held
    waiting: deque[Future[Result]] = deque()
    with Pool(workers, name) as pool:
        for item in items:
            waiting.append(pool.submit(partial(function, item)))
            if len(waiting) >= held:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
