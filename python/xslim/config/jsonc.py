"""JSON with comments, as the starter configuration is written."""

from __future__ import annotations

import re

# A string comes first, so that slashes inside it start no comment.
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def blank_comments(text: str) -> str:
    """Replace ``//`` and ``/* */`` comments by blanks; lines and columns stay where they are."""
    return _STRING_OR_COMMENT.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    found = match[0]
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)
