"""JSON as people write it: with comments, and with a comma behind the last entry."""

from __future__ import annotations

import re

# A string comes first, so that slashes, hashes and commas inside a string mean nothing.
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_STRING_OR_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)
# Only a comma that follows a value: `[,]` and `[1,,]` stay wrong.
_STRING_OR_LAST_COMMA = re.compile(rf'{_STRING}|(?<=[\w\]}}"])\s*,(?=\s*[\]}}])')


def plain_json(text: str) -> str:
    """Replace comments (``//``, ``#``, ``/* */``) and trailing commas by blanks.

    Lines and columns stay where they are, so that an error of the JSON reader names the right place.
    """
    return _STRING_OR_LAST_COMMA.sub(_blank, _STRING_OR_COMMENT.sub(_blank, text))


def _blank(match: re.Match[str]) -> str:
    found = match[0]
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)
