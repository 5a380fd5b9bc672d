"""Read fenced code blocks, links and headings of Markdown files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<title>.+?) *$", re.MULTILINE)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
# A `#` that starts a line or follows a blank starts a comment in every language that the documents use.
COMMENT = re.compile(r"(^|[ \t])#.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    The first word after the fence is the language. `file=NAME` after it names the file that the block is.
    """

    document: Path
    line: int
    language: str
    file: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def code(self) -> str:
        """The text without comments and trailing blanks: what must agree between translations."""
        lines = (line.rstrip() for line in COMMENT.sub("", self.text).splitlines())
        return "\n".join(line for line in lines if line)


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document in their order."""
    text = document.read_text("utf-8")
    return [_block(document, text, match) for match in FENCE.finditer(text)]


def _block(document: Path, text: str, match: re.Match[str]) -> Block:
    language, *options = match["info"].split() or [""]
    files = [option.removeprefix("file=") for option in options if option.startswith("file=")]
    unknown = [option for option in options if not option.startswith("file=")]
    line = text.count("\n", 0, match.start()) + 1
    assert len(files) <= 1, f"{document}:{line}: names two files"
    assert not unknown, f"{document}:{line}: unknown marks {unknown}"
    return Block(document, line, language, next(iter(files), None), match["text"])


def prose(document: Path) -> str:
    """Return a document's text without its fenced blocks."""
    return FENCE.sub("", document.read_text("utf-8"))


def links(document: Path) -> list[str]:
    """Return the targets of all links outside code."""
    return [match["target"] for match in LINK.finditer(INLINE_CODE.sub("", prose(document)))]


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    return {_anchor(match["title"]) for match in HEADING.finditer(prose(document))}


def _anchor(title: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower())
    return plain.replace(" ", "-")


def inline_code(document: Path) -> set[str]:
    """Return what stands between single backticks."""
    return set(INLINE_CODE.findall(prose(document)))


def table_rows(document: Path) -> list[list[str]]:
    """Return the cells of every table row, without the separator rows."""
    lines = (line.strip() for line in prose(document).splitlines())
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]
