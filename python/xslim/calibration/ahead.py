"""Doing the next pieces of work while the caller is busy with the present one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from xslim.runtime import Pool

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Map in threads: results in order, at most ``workers + 1`` of them waiting to be taken.

    Parameters
    ----------
    function : callable
        Must be safe to call from several threads when `workers` is above 1.
    items : iterable
        Read only as far as work is handed out.
    workers : int
        Threads; 0 works in the caller's thread, without looking ahead.

    Yields
    ------
    The results. An exception of `function` is raised in its place; work that nobody waits for any more
    is cancelled when the iteration ends early.
    """
    if workers < 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with Pool(workers, "xslim-decode") as pool:
        for item in items:
            waiting.append(pool.submit(partial(function, item)))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
