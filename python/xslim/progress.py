"""Progress of a run: phases report how far they are, and one listener shows it.

Code at any layer reports; only the caller of a run decides what is shown. Without a listener, nothing is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

logger = logging.getLogger(__name__)

Listener = Callable[[str, int, int], None]
"""Called with the phase, and with the numbers of steps that are done and that there are."""

WORTH_TIMING = 0.1
"""Shorter phases are not logged, in seconds."""

Item = TypeVar("Item")

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Report the progress to a listener while the context is open; None reports to nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def has_listener() -> bool:
    """Whether somebody listens already."""
    return _listener.get() is not None


def report(phase: str, done: int, total: int) -> None:
    """Report that `done` of `total` steps of a phase are done."""
    listener = _listener.get()
    if listener is not None:
        listener(phase, done, total)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Log, for ``--verbose``, how long a phase took and how many cores this process used in it.

    The child process that runs models for the first time is not counted.
    """
    started, used = time.monotonic(), time.process_time()
    yield
    seconds = time.monotonic() - started
    if seconds >= WORTH_TIMING:
        logger.debug("%s: %.1f s, %.1f cores", phase, seconds, (time.process_time() - used) / seconds)


def tracked(items: Iterable[Item], phase: str, total: int, step: int = 1) -> Iterator[Item]:
    """Yield the items and report after each that `step` more steps are done."""
    done = 0
    report(phase, done, total)
    for item in items:
        yield item
        done += step
        report(phase, min(done, total), total)
