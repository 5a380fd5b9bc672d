"""Text for terminals."""

from __future__ import annotations

import json
import re
import shutil
import sys

from xslim.texts import spoken
from xslim.texts.columns import wrapped

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
    """Print lines in the language of the command, without control characters; wrap them if `folded`."""
    for line in map(visible, lines):
        said = spoken_line(line)
        print(fold(said) if folded else said)


def say_json(content: object) -> None:
    """Print JSON in ASCII."""
    # DEL is the only control character that json.dumps does not escape.
    print(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))


def spoken_line(line: str) -> str:
    """Return a line in the language of the command; blanks in front stay."""
    text = line.lstrip(" ")
    return line[: len(line) - len(text)] + spoken(text)


def fold(line: str) -> str:
    """Wrap a long line between words if standard output is a terminal; else return it unchanged."""
    if not sys.stdout.isatty():
        return line
    return "\n".join(wrapped(line, shutil.get_terminal_size().columns, " " * HANG))


def known_only(complete: bool) -> str:
    """Return the note that follows a share of multiply-accumulates if some shapes are unknown."""
    return "" if complete else " (where shapes are known)"


def counted(number: int, noun: str) -> str:
    """Return "1 subgraph", "2 subgraphs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
