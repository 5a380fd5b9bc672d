"""Show the progress of a run: a bar on a terminal or in a notebook, otherwise a line every ten seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape

from xslim.progress import Listener, has_listener, listening, tracked
from xslim.runtime import Feeds
from xslim.texts import spoken

logger = logging.getLogger(__name__)

SECONDS_PER_LINE = 10.0
"""Time between two lines of progress where no bar can be shown."""
SECONDS_PER_UPDATE = 0.2
"""Time between two updates of the bar of a notebook."""


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
    """Show a bar of rich on the standard error stream, or a bar of HTML in the cell of a notebook."""
    if "ipykernel" in sys.modules:
        with _notebook_bar():
            yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(spoken("starting"), total=None)

        def listener(phase: str, done: int, total: int) -> None:
            bar.update(shown, description=spoken(phase), completed=done, total=total)

        with listening(listener):
            yield


@contextmanager
def _notebook_bar() -> Iterator[None]:
    # The bars of rich need ipywidgets in a notebook; a cell shows HTML without further packages.
    from IPython.display import HTML, display

    shown = display(HTML("starting"), display_id=True)
    started = last = time.monotonic()
    phases: dict[str, float] = {}

    def listener(phase: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if phase in phases and done < total and now - last < SECONDS_PER_UPDATE:
            return
        last = phases[phase] = now
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        shown.update(HTML(f"{bar} {escape(phase)}: {done} of {total}, {now - started:.0f} s"))

    with listening(listener):
        yield
    shown.update(HTML(f"done in {time.monotonic() - started:.1f} s: {escape(', '.join(phases))}"))


def lines() -> Listener:
    """Return a listener that logs a line if ten seconds have passed since the last one."""
    last = time.monotonic()

    def listener(phase: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_PER_LINE:
            last = now
            logger.info("%s: %d/%d", spoken(phase), done, total)

    return listener


def _on_terminal() -> bool:
    # A preprocessing function may have replaced sys.stderr by something that only writes.
    isatty = getattr(sys.stderr, "isatty", None)
    return bool(isatty and isatty())
