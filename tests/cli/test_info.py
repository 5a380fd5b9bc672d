"""Tests of ``xslim info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

import xslim
from tests import models
from tests.cli.workspace import make_workspace
from xslim.cli import main


def info(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["info", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    models.save(models.conv_net("batch"), path)
    found = info(path, capsys)
    assert found["inputs"] == [{"name": "x", "dtype": "float", "shape": ["batch", 3, 8, 8]}]
    assert found["outputs"] == [{"name": "y", "dtype": "float", "shape": ["batch", 10]}]
    assert found["operators"] == {
        "Conv": 2, "Relu": 2, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "MaxPool": 1,
    }  # fmt: skip
    assert found["parameters"] == 8 * 27 + 8 + 16 * 72 + 16 + 160 + 10
    # A batch of one; conv1 on 64 positions, conv2 on 16.
    assert found["macs"] == 8 * 27 * 64 + 16 * 72 * 16 + 160
    assert found["macs_complete"] is True
    assert found["opsets"] == {"ai.onnx": models.OPSET}
    assert found["file_bytes"] == path.stat().st_size
    assert found["functions"] == []


@pytest.mark.parametrize(
    ("level", "arithmetic"), [(0, "static int8 (QDQ)"), (3, "dynamic int8"), (4, "float16"), (100, "float32")]
)
def test_arithmetic(tmp_path: Path, capsys: pytest.CaptureFixture[str], level: int, arithmetic: str) -> None:
    workspace = make_workspace(tmp_path)
    models.save(models.mlp(width=3 * 8 * 8), workspace.model)
    models.write_samples(tmp_path / "data", (1, 3 * 8 * 8), 3)
    workspace.section("quantization")["precision_level"] = level
    xslim.quantize_onnx_model(workspace.config)
    assert info(workspace.output / "net.q.onnx", capsys)["quantization"] == arithmetic


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(models.conv_net("batch"), tmp_path / "net.onnx")
    assert main(["info", str(tmp_path / "net.onnx")]) == 0
    out = capsys.readouterr().out
    assert "float [batch, 3, 8, 8]" in out
    assert "Conv 2, Relu 2" in out


def test_weights_in_constant_nodes_and_subgraphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def branch(name: str, value: float) -> onnx.GraphProto:
        constant = onnx.helper.make_node(
            "Constant", [], [f"{name}_c"], value=onnx.helper.make_tensor("v", 1, [3], [value] * 3)
        )
        add = onnx.helper.make_node("Add", ["x", f"{name}_c"], [name])
        output = onnx.helper.make_tensor_value_info(name, 1, [3])
        return onnx.helper.make_graph([constant, add], name, [], [output])

    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch("a", 1), else_branch=branch("b", 2))
    graph = onnx.helper.make_graph(
        [node],
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, [3]), onnx.helper.make_tensor_value_info("c", 9, [])],
        [onnx.helper.make_tensor_value_info("y", 1, [3])],
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(
        onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    found = info(path, capsys)
    assert found["parameters"] == 6
    assert found["subgraphs"] == 2
    assert found["operators"] == {"Add": 2, "If": 1}


@pytest.mark.parametrize(("batch", "said"), [("batch", True), (1, False)])
def test_open_dimensions_are_named_where_there_are_some(
    batch: int | str, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(models.conv_net(batch), tmp_path / "net.onnx")
    assert main(["info", str(tmp_path / "net.onnx")]) == 0
    assert ("symbolic dimensions" in capsys.readouterr().out) is said


def test_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_text("no model", "utf-8")
    assert main(["info", str(tmp_path / "net.onnx")]) == 2
    assert "not an ONNX file" in capsys.readouterr().err
