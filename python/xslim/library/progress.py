"""What the library's functions tell while they run: progress and warnings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from xslim.errors import ConfigError
from xslim.pipeline.progress import shown_bar
from xslim.progress import Listener, listening


@contextmanager
def showing(progress: bool | Listener | None) -> Iterator[None]:
    """Show the progress of what runs in the block.

    Parameters
    ----------
    progress : bool, callable or None
        True shows a bar in a terminal or a notebook. A callable gets the phase, and the numbers of steps that
        are done and that there are. False and None show nothing.

    Raises
    ------
    ConfigError
        The argument is something else.
    """
    if progress is True:
        with shown_bar():
            yield
    elif progress is None or progress is False:
        with listening(_nothing):
            yield
    elif callable(progress):
        with listening(progress):
            yield
    else:
        raise ConfigError(
            f"must be True, False or a callable, not {type(progress).__name__}",
            where="progress",
            hint="a callable gets (phase, done, total)",
        )


def _nothing(phase: str, done: int, total: int) -> None:
    del phase, done, total


@contextmanager
def warnings_collected() -> Iterator[list[str]]:
    """Collect the warnings that XSlim logs in the block; a program without logging would not see them."""
    found: list[str] = []
    handler = _Collector(found)
    logger = logging.getLogger("xslim")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(record.getMessage())
