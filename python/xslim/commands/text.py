"""Text for terminals."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap

HANG = 6

# Control characters, marks that turn the direction of writing or break lines, and halves of characters.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return a line in which control characters are escaped, such as ``\x1b``.

    Names in a model or file may contain any character. Unescaped, they could change colours or the window's
    title, or imitate a line of XSlim.
    """
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say(*lines: str, folded: bool = False) -> None:
    """Print lines with visible characters only; long lines are wrapped if `folded` is true."""
    for line in map(visible, lines):
        print(fold(line) if folded else line)


def say_json(content: object) -> None:
    """Print JSON in ASCII."""
    # DEL is the only control character that json.dumps does not escape.
    print(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))


def fold(line: str) -> str:
    """Wrap a long line between words if standard output is a terminal; else return it unchanged."""
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        line, width, subsequent_indent=" " * HANG, break_long_words=False, break_on_hyphens=False
    )


def known_only(complete: bool) -> str:
    """Return the note that follows a share of multiply-accumulates if some shapes are unknown."""
    return "" if complete else " (where shapes are known)"


def counted(number: int, noun: str) -> str:
    """Return "1 subgraph", "2 subgraphs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
