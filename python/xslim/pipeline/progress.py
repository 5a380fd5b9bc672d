"""Progress of the calibration pass."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator

from xslim.runtime import Feeds

logger = logging.getLogger(__name__)


def track(samples: Iterable[Feeds], total: int, rows: int = 1) -> Iterator[Feeds]:
    """Yield samples and show the progress: a bar on a terminal, otherwise one line at the end.

    Parameters
    ----------
    samples : iterable of feeds
        The samples to yield.
    total : int
        Expected number of samples.
    rows : int
        Number of samples in each item, if the model's batch is fixed.
    """
    started = time.monotonic()
    count = 0
    for feeds in _with_bar(samples, total, rows) if _on_terminal() else samples:
        yield feeds
        count += rows
    seconds = time.monotonic() - started
    logger.info(
        "calibrated with %d samples in %.1f s (%.0f a second)", count, seconds, count / max(seconds, 1e-9)
    )


def _on_terminal() -> bool:
    # A preprocessing function may have replaced sys.stderr by something that only writes.
    isatty = getattr(sys.stderr, "isatty", None)
    return bool(isatty and isatty()) and logging.getLogger("xslim").isEnabledFor(logging.INFO)


def _with_bar(samples: Iterable[Feeds], total: int, rows: int) -> Iterator[Feeds]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Samples per second, shown after the first sample."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f} a second" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("calibrating", total=total * rows)
        for feeds in samples:
            yield feeds
            progress.advance(task, rows)
