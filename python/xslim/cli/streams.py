"""The streams of the process: they exist, take any text, and show what XSlim says and nothing else."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

STDERR = 2


def open_missing_streams() -> None:
    """Give a process that was started with closed streams the null device in their place.

    The next file that is opened would otherwise get the number of the closed stream, and whatever a library
    prints would end in that file.
    """
    for number, mode in ((0, "r"), (1, "w"), (STDERR, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        name = ("stdin", "stdout", "stderr")[number]
        if getattr(sys, name) is None:
            setattr(sys, name, _stream(number, mode))


def take_any_text() -> None:
    """Let paths and names through that the encoding of the terminal does not have, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def only_our_lines() -> Iterator[None]:
    """Keep what C and C++ libraries print off stderr; ``sys.stderr`` stays what it shows.

    onnxruntime, OpenCV and onnx write to the number of the stream itself, past every setting of Python.
    """
    before = sys.stderr
    shown = os.dup(STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        before.flush()
    os.dup2(nowhere, STDERR)
    os.close(nowhere)
    if _number(before) == STDERR:
        sys.stderr = _stream(shown, "w", before.encoding)
    try:
        yield
    finally:
        # A full disk is no reason to fail: the lines are lost.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        sys.stderr = before
        os.dup2(shown, STDERR)
        os.close(shown)


def _number(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _stream(number: int, mode: str, encoding: str | None = None) -> TextIO:
    errors = "backslashreplace" if mode == "w" else None
    # Not closed with the stream: the number belongs to whoever opened it.
    stream = open(number, mode, 1, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    assert isinstance(stream, io.TextIOWrapper)
    return stream
