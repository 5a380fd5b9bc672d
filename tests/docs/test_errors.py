"""The table of errors names every kind of error, with the exit status that it really has."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import xslim
from xslim.errors import XSlimError

from . import markdown
from .conftest import ROOT

DOCUMENT = ROOT / "docs" / "errors.md"
USERS = (
    "ConfigError",
    "CrashError",
    "DataError",
    "LimitError",
    "ModelError",
    "OutputError",
)


def _kinds(base: type[XSlimError]) -> set[type[XSlimError]]:
    return {base}.union(*(_kinds(kind) for kind in base.__subclasses__()))


@pytest.fixture(scope="module")
def kinds() -> dict[str, type[XSlimError]]:
    for module in pkgutil.walk_packages(xslim.__path__, "xslim."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {kind.__name__: kind for kind in _kinds(XSlimError) if kind.__module__.startswith("xslim.")}


def test_every_kind_is_in_the_table_with_its_exit_status(kinds: dict[str, type[XSlimError]]) -> None:
    rows = [row for row in markdown.table_rows(DOCUMENT) if row[0].strip("`") in kinds]
    documented = {row[0].strip("`"): row[2] for row in rows}
    assert documented == {name: str(kind.exit_code) for name, kind in kinds.items()}
    assert len(rows) == len(documented), "a kind stands in the table twice"


def test_every_documented_kind_exists(kinds: dict[str, type[XSlimError]]) -> None:
    named = {text for text in markdown.inline_code(DOCUMENT) if text.endswith("Error")}
    assert named == set(kinds)


def test_every_row_says_what_to_do() -> None:
    rows = markdown.table_rows(DOCUMENT)
    assert len(rows) > 50
    assert all(len(row) == 3 and all(row) for row in rows)


def _raised() -> Iterator[tuple[str, str]]:
    """Place and message of every error that a user's input can cause; ``…`` for what is filled in."""
    for file in sorted((ROOT / "python" / "xslim").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in USERS and node.args:
                first = node.args[0]
                parts = first.values if isinstance(first, ast.JoinedStr) else [first]
                text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
                if text != "…":
                    yield f"{file.name}:{node.lineno}", text


def test_every_message_is_in_the_tables() -> None:
    cells = [row[0] for row in markdown.table_rows(DOCUMENT)]
    phrases = [phrase for cell in cells for phrase in re.split(r", (?=\w)|; ", cell)]
    patterns = [re.compile(re.sub(r"…|\bN\b|\bM\b", ".*", re.escape(phrase))) for phrase in phrases]
    missing = [
        f"{place}: {text}"
        for place, text in _raised()
        if not any(pattern.search(text) for pattern in patterns)
    ]
    assert not missing, "\n".join(missing)
