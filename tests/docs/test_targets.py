"""The page on targets lists the targets, roles and patterns of the code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import xslim
from xslim.commands.plan import plan_run
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


def test_the_example_of_an_own_target_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = [block.text for block in markdown.blocks(PAGE) if block.language == "toml"]
    quickstart = tmp_path / "quickstart"
    shutil.copytree(ROOT / "examples" / "quickstart", quickstart, ignore=shutil.ignore_patterns("output"))
    monkeypatch.chdir(quickstart)
    (quickstart / "board.toml").write_text(table, "utf-8")
    config = json.loads((quickstart / "config.json").read_text("utf-8"))
    config["quantization_parameters"] = {
        "target": "board.toml",
        "finetune_level": 0,
        "analysis_enable": False,
    }
    summary, _ = plan_run(config)
    int8 = {operator.op_type for operator in summary.operators if operator.int8}
    assert summary.target == "board"
    assert "Conv" in int8
    assert int8 <= set(load_target("board.toml").operators)
    model = xslim.quantize_onnx_model(config)
    assert "DequantizeLinear" in {node.op_type for node in model.graph.node}
