"""The English texts of the package that a user reads, taken from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "python" / "xslim"
HOLE = "{}"
CONVERSION = re.compile(r"%(%|[-+0-9.]*[a-z])")


def shape(text: str) -> str:
    """Return a text with every value as an empty pair of braces; values without a letter between are one."""
    return re.sub(r"((?<!\{)\{[^{}]*\})+", HOLE, text)


def texts() -> Iterator[tuple[str, str]]:
    """Yield place and text of errors, log lines, findings, help, and lines that commands print."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            for part in _of_node(node, "commands" in file.parts or file.name == "suspicions.py"):
                for text in _written(part):
                    text = CONVERSION.sub(_hole, text) if _is_log(node) else text
                    # A message of several lines is translated line by line.
                    for line in text.split("\n") if _is_log(node) else [text]:
                        if re.search(r"[A-Za-z]{3}", line.replace(HOLE, "")):
                            yield f"{file.relative_to(PACKAGE)}:{node.lineno}", line


def _of_node(node: ast.AST, of_command: bool) -> Iterator[ast.expr]:
    if isinstance(node, ast.Yield) and node.value is not None and of_command:
        yield node.value
    if not isinstance(node, ast.Call):
        return
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    if (
        (name.endswith("Error") and not name.startswith("Pydantic"))
        or name == "Command"
        or (name == "say" and of_command)
        or _is_log(node)
    ):
        yield from node.args[:1]
    for wanted, calls in KEYWORDS.items():
        if wanted in named and re.fullmatch(calls, name):
            yield named[wanted]
    if name in ("tracked", "spoken"):
        yield from node.args


KEYWORDS = {
    "what": ".*Error",
    "hint": ".*Error",
    "title": "Finding",
    "text": "Finding",
    "help": "_argument|add_argument",
}
"""Arguments that hold texts, and the functions that take them."""


def _is_log(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("info", "warning", "error")
        and getattr(node.func.value, "id", "") == "logger"
    )


def _hole(found: re.Match[str]) -> str:
    return "%" if found[1] == "%" else HOLE


def _written(node: ast.expr) -> list[str]:
    """Return the texts that an expression may be; none if it is computed."""
    if isinstance(node, ast.Constant):
        return [node.value.replace("{", "{{").replace("}", "}}")] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return [*_written(node.body), *_written(node.orelse)]
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        return ["".join(map(str, parts))]
    return []
