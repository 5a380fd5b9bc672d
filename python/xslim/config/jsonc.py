"""Accept JSON with comments and with a comma behind the last entry."""

from __future__ import annotations

import re

# Strings are matched first, so that slashes, hashes and commas in strings are not comments or separators.
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_STRING_OR_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)
# Only a comma behind a value is removed, so `[,]` and `[1,,]` stay errors.
_STRING_OR_LAST_COMMA = re.compile(rf'{_STRING}|(?<=[\w\]}}"])\s*,(?=\s*[\]}}])')


def plain_json(text: str) -> str:
    """Replace comments (``//``, ``#``, ``/* */``) and trailing commas by blanks.

    Lines and columns do not change, so that errors of the JSON reader name the right place.
    """
    return _STRING_OR_LAST_COMMA.sub(_blank, _STRING_OR_COMMENT.sub(_blank, text))


def _blank(match: re.Match[str]) -> str:
    found = match[0]
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)
