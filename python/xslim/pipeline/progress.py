"""Show the progress of a run: a bar on a terminal or in a notebook, otherwise a line every ten seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from xslim.progress import Listener, has_listener, listening, tracked
from xslim.runtime import Feeds

logger = logging.getLogger(__name__)

SECONDS_PER_LINE = 10.0
"""Time between two lines of progress where no bar can be shown."""


def track(samples: Iterable[Feeds], total: int, rows: int = 1) -> Iterator[Feeds]:
    """Yield the samples of the calibration pass, report the progress, and log the speed at the end.

    Parameters
    ----------
    samples : iterable of feeds
        The samples to yield.
    total : int
        Expected number of items.
    rows : int
        Number of samples in each item, if the model's batch is fixed.
    """
    started = time.monotonic()
    count = 0
    for feeds in tracked(samples, "calibrating", total * rows, rows):
        yield feeds
        count += rows
    seconds = time.monotonic() - started
    logger.info(
        "calibrated with %d samples in %.1f s (%.0f a second)", count, seconds, count / max(seconds, 1e-9)
    )


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show the progress of a command: a bar on a terminal, otherwise lines; nothing if it is quiet."""
    if has_listener() or not logging.getLogger("xslim").isEnabledFor(logging.INFO):
        yield
    elif _on_terminal():
        with shown_bar():
            yield
    else:
        with listening(lines()):
            yield


@contextmanager
def shown_bar() -> Iterator[None]:
    """Show a bar of rich on the standard error stream, or in the cell of a notebook."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def listener(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                for other in bar.task_ids:
                    bar.remove_task(other)
                tasks.clear()
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(bar.task_ids[0], completed=done, total=total)

        with listening(listener):
            yield


def lines() -> Listener:
    """Return a listener that logs a line if ten seconds have passed since the last one."""
    last = time.monotonic()

    def listener(phase: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_PER_LINE:
            last = now
            logger.info("%s: %d of %d", phase, done, total)

    return listener


def _on_terminal() -> bool:
    # A preprocessing function may have replaced sys.stderr by something that only writes.
    isatty = getattr(sys.stderr, "isatty", None)
    return bool(isatty and isatty())
