"""The progress argument of the library's functions."""

from __future__ import annotations

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
