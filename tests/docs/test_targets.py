"""The page on targets has the targets, roles and patterns of the code."""

from __future__ import annotations

from xslim.commands.qdq_patterns import PATTERNS
from xslim.targets import load_target, target_names

from . import markdown
from .conftest import ROOT

PAGE = ROOT / "docs" / "targets.md"


def first_cells() -> set[str]:
    """Return every code word of the first cells of all tables."""
    cells = [row[0] for row in markdown.table_rows(PAGE)]
    return {code for cell in cells for code in markdown.INLINE_CODE.findall(cell)}


def test_targets_roles_and_patterns_are_listed() -> None:
    tables = [load_target(name) for name in target_names()]
    roles = {operator.role for table in tables for operator in table.operators.values()}
    assert first_cells() == {*target_names(), *roles, *PATTERNS}


def test_activation_types_are_stated() -> None:
    rows = [row for row in markdown.table_rows(PAGE) if len(row) == 3 and row[0].startswith("`")]
    assert {row[0].split("`")[1]: row[2].startswith("uint8") for row in rows} == {
        name: load_target(name).unsigned for name in target_names()
    }
