"""Text for terminals."""

from __future__ import annotations

import shutil
import sys
import textwrap

HANG = 6


def fold(line: str) -> str:
    """Break a long line between words where standard output is a terminal; files and pipes get it whole."""
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        line, width, subsequent_indent=" " * HANG, break_long_words=False, break_on_hyphens=False
    )


def known_only(complete: bool) -> str:
    """What follows a share of multiply-accumulates when some shapes are not known."""
    return "" if complete else " (where shapes are known)"


def counted(number: int, noun: str) -> str:
    """Return "1 subgraph", "2 subgraphs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
