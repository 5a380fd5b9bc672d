"""Text in columns of a terminal, where a Chinese character takes two."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from unicodedata import east_asian_width

WIDE = ("W", "F")
CLOSING = "，。；：！？、）》」”"
"""Chinese marks that must not begin a line."""


def columns(text: str) -> int:
    """Return the number of columns that a text takes."""
    return sum(2 if east_asian_width(character) in WIDE else 1 for character in text)


def padded(text: str, width: int) -> str:
    """Return a text with blanks behind, so that the text takes at least `width` columns."""
    return text + " " * (width - columns(text))


def table(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Return the lines of a table.

    Parameters
    ----------
    rows : sequence of sequence of str
        The cells, those of the heading first.
    sides : str
        ``<`` for every column that stands on the left, ``>`` for one that stands on the right.
    """
    widths = [max(columns(row[index]) for row in rows) for index in range(len(sides))]
    return [
        "  ".join(
            padded(cell, width) if side == "<" else " " * (width - columns(cell)) + cell
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break a text into lines of at most `width` columns, between words or Chinese characters.

    `indent` stands before every line but the first. A longer word has a line of its own.
    """
    if text.isascii():
        return textwrap.wrap(
            text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    lines = [""]
    for piece in re.findall(rf"\s+|[!-~]+[{CLOSING}]*|.[{CLOSING}]*", text):
        full = columns(lines[-1] + piece.rstrip()) > width and lines[-1].strip()
        if not full:
            lines[-1] += piece
        elif piece.strip():
            lines.append(indent + piece)
    return [line.rstrip() for line in lines]
