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
    """Collect the warnings of XSlim in the block, also those that the program does not log."""
    found: list[str] = []
    handler = _Collector(found)
    logger = logging.getLogger("xslim")
    with _warnings_made(logger):
        logger.addHandler(handler)
        try:
            yield found
        finally:
            logger.removeHandler(handler)


@contextmanager
def _warnings_made(logger: logging.Logger) -> Iterator[None]:
    """Let a logger make warnings whatever its level is; the handlers that it has show no more than before."""
    before, shown = logger.level, logger.getEffectiveLevel()
    if shown <= logging.WARNING:
        yield
        return

    def was_shown(record: logging.LogRecord) -> bool:
        return record.levelno >= shown or record.name.split(".")[0] != logger.name

    handlers = [*logger.handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(was_shown)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        for handler in handlers:
            handler.removeFilter(was_shown)


class _Collector(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(record.getMessage())
