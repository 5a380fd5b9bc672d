"""Prepare the standard streams: they exist, accept any text, and show only the output of XSlim."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

STDERR = 2


def open_missing_streams() -> None:
    """Replace standard streams that are closed by the null device.

    Otherwise the next opened file would get the descriptor of the closed stream, and the output of libraries
    would be written to that file.
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
    """Escape characters of paths and names that the encoding of the terminal lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def readable(stream: TextIO | None) -> bool:
    """Whether a stream can show Chinese characters."""
    try:
        "\u4e2d\u6587".encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


@contextmanager
def only_our_lines() -> Iterator[None]:
    """Keep the output of C and C++ libraries off stderr; ``sys.stderr`` still writes there.

    onnxruntime, OpenCV and onnx write to the file descriptor itself, which no setting of Python affects.
    """
    before = sys.stderr
    shown = os.dup(STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        before.flush()
    os.dup2(nowhere, STDERR)
    os.close(nowhere)
    ours = _stream(shown, "w", before.encoding) if _number(before) == STDERR else before
    sys.stderr = ours
    try:
        yield
    finally:
        # If the disk is full, the lines are lost, but the run does not fail. A preprocessing function may
        # have replaced sys.stderr.
        with suppress(OSError, ValueError):
            ours.flush()
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
    # Closing the stream must not close the descriptor, which belongs to the code that opened it.
    stream = open(number, mode, 1, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    assert isinstance(stream, io.TextIOWrapper)
    return stream
